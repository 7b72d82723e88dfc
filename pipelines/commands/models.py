"""`moodstream models`: what is installed, and how far to trust it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from moodstream.models.registry import Card


@click.command()
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def models(form: str) -> None:
    """List the installed models: licence, corpora, measures and limits.

    \b
    moodstream models
    moodstream models --format json
    """
    import json
    from dataclasses import asdict

    from moodstream.models.registry import FOLDER, installed
    from moodstream.transforms.errors import UsageError

    cards = installed()
    if form == "json":
        click.echo(json.dumps([asdict(card) for card in cards], indent=2, ensure_ascii=False))
        return
    if not cards:
        raise UsageError(f"no models in {FOLDER}: reinstall moodstream, or make them with `moodstream train`")

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for card in cards:
        console.print(Text(f"{card.name} {card.version}", style="bold"))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(justify="right", style="dim", min_width=10)
        grid.add_column(overflow="fold")
        for name, text in facts(card):
            grid.add_row(name, Text(text))
        console.print(grid, "")


def facts(card: "Card") -> Iterator[tuple[str, str]]:
    """A card as lines for people: what it is about, and what it says."""
    yield "task", f"{card.task}: {', '.join([*card.dimensions, *card.labels])}"
    yield "hears", f"{card.past_s:g} s before a half second, {card.lookahead_s:g} s after it"
    yield "licence", card.licence
    for i, (name, licence) in enumerate(card.corpora.items()):
        use = f"; commercial use: {card.commercial[name]}" if name in card.commercial else ""
        yield "" if i else "corpora", f"{name} ({licence}{use})"
    made = [card.date, f"commit {card.commit}" if card.commit else "", card.machine]
    yield "trained", ", ".join(part for part in made if part)
    seeds = f", mean of seeds {', '.join(map(str, card.seeds))}" if len(card.seeds) > 1 else ""
    yield "measured", f"{card.folds}{seeds}; in brackets 95 % intervals over groups"
    yield from (("", line) for line in _measures(card.metrics))
    if card.cross:
        yield "left out", "each corpus by a model that learned from the others alone"
        yield from (("", line) for line in _measures(card.cross))
    for i, limit in enumerate(card.limits):
        yield "" if i else "limits", limit


def _measures(measures: Mapping[str, Sequence[float]]) -> Iterator[str]:
    for name, (value, *interval) in measures.items():
        within = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
        yield f"{name} {value:.3f}{within}"
