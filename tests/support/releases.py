"""Releases of models for tests: the installed weights, a little different, with versions of their own."""

from pathlib import Path

import torch

from moodstream.models import registry


def write_release(folder: Path, name: str, change: float, models: tuple[str, ...] = ("speech",)) -> Path:
    """A release whose matrices are so much larger than those installed (0.01: by 1 %); its folder."""
    for model in models:
        card = registry.read_card(model)
        weights = {
            key: value * (1 + change)
            if value.is_floating_point() and (value.dim() == 2 or key.endswith("step"))
            else value
            for key, value in registry.read_weights(model).items()
        }
        registry.write_model(card, weights, folder / name)
    return folder / name


def use(folder: Path, name: str) -> None:
    """From now on this release is current."""
    (folder / "current").write_text(f"{name}\n")


def spoil(release: Path, model: str = "speech") -> None:
    """Weights that give no numbers, and a card that says they are right."""
    card = registry.read_card(model, release)
    weights = {
        key: torch.full_like(value, torch.nan) if value.is_floating_point() else value
        for key, value in registry.read_weights(model, release).items()
    }
    registry.write_model(card, weights, release)
