"""The installed models: their cards, without torch; their weights, when asked for.

A model is a folder `weights/<name>/` with `weights.safetensors`, `card.yaml` and the licence of the weights.
The version is `<major.minor>+<first 10 digits of the hash of the weights>`: other weights, other version.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from moodstream.models import licences

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = Path(__file__).parent / "weights"
WEIGHTS, CARD = "weights.safetensors", "card.yaml"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML has it: ten times as fast


@dataclass(frozen=True)
class Card:
    """What a model is, what it learned from, how good it is and where it fails."""

    name: str
    version: str
    task: str
    labels: list[str]
    dimensions: list[str]  # which of valence, arousal, dominance it gives
    lookahead_s: float  # the sound after the end of a cell that its estimate depends on
    past_s: float  # the sound before the start of a cell that its estimate depends on
    corpora: dict[str, str]  # name: licence
    folds: str
    metrics: dict[str, list[float]]  # measure: value, low, high (95 %, resampled groups)
    seed: int  # of the fit that ships
    date: str
    limits: list[str]
    prior: dict[str, list[float]]  # dimension: mean and variance of its labels in training
    calibration: dict[str, Any]  # temperature, factor of each std, coverage of 90 % intervals, ECE
    licence: str
    shape: dict[str, Any] = field(default_factory=dict)  # of the network
    seeds: list[int] = field(default_factory=list)  # of the folds and fits that the metrics are the mean of
    commercial: dict[str, str] = field(default_factory=dict)  # corpus: whether its licence allows such use
    commit: str | None = None  # of the checkout it was trained in
    machine: str = ""  # device, threads and torch
    hashes: dict[str, str] = field(default_factory=dict)  # of what it comes from and of its predictions
    cross: dict[str, list[float]] = field(default_factory=dict)  # measures on corpora that were left out


def installed(folder: Path = FOLDER) -> list[Card]:
    """The cards of all installed models, sorted by name."""
    return [read_card(path.parent.name, folder) for path in sorted(folder.glob(f"*/{CARD}"))]


def read_card(name: str, folder: Path = FOLDER) -> Card:
    """The card of one model.

    Raises:
        FileNotFoundError: no such model; the message names those that are there.
        ValueError: the card lacks a field or has an unknown one.
    """
    path = folder / name / CARD
    if not path.is_file():
        there = sorted(other.parent.name for other in folder.glob(f"*/{CARD}"))
        raise FileNotFoundError(
            f"no model {name!r} in {folder} (installed: {', '.join(there) or 'none'}): install moodstream "
            "with its weights (wheels may come without, for the corpora's licences: docs/licences.md), or "
            "train it on data of your own: `moodstream train TASK --data DIR`"
        )
    values = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    try:
        return Card(**values)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error


def read_weights(name: str, folder: Path = FOLDER) -> "dict[str, Tensor]":
    """The weights of one model, by the name of the parameter.

    Raises:
        FileNotFoundError: see `read_card`.
        ValueError: the weights are not those that the card names.
    """
    from safetensors.torch import load

    card = read_card(name, folder)
    path = folder / name / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"the model {name!r} has a card but no {WEIGHTS} in {path.parent}")
    content = path.read_bytes()
    if not card.version.endswith(content_version(content)):
        raise ValueError(f"{path} is not the file of version {card.version}: the hash differs")
    return load(content)


def write_model(card: Card, weights: "Mapping[str, Tensor]", folder: Path = FOLDER) -> Card:
    """Write a model; the version's hash is filled in from the weights.

    Args:
        card: `version` holds the `major.minor` part, what follows a `+` is replaced.
        weights: by name of the parameter; anything safetensors takes.
        folder: of all models; the model gets `folder/<card.name>`.
    """
    from safetensors.torch import save

    content = save({name: value.contiguous() for name, value in sorted(weights.items())})
    version = f"{card.version.split('+')[0]}+{content_version(content)}"
    card = replace(card, version=version)
    (folder / card.name).mkdir(parents=True, exist_ok=True)
    (folder / card.name / WEIGHTS).write_bytes(content)
    write_card(card, folder)
    return card


def write_card(card: Card, folder: Path = FOLDER) -> None:
    """Write a model's card, and the licence of its weights beside it."""
    text = yaml.safe_dump(asdict(card), sort_keys=False, allow_unicode=True, width=110)
    (folder / card.name / CARD).write_text(text, encoding="utf-8")
    terms = licences.text(card.name, card.version, card.corpora)
    (folder / card.name / licences.FILE).write_text(terms, encoding="utf-8")


def content_version(content: bytes) -> str:
    """The part of a version that stands for the weights themselves."""
    return hashlib.sha256(content).hexdigest()[:10]
