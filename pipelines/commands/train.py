"""`moodstream train` and `moodstream evaluate`: make the models again, and measure them."""

from collections.abc import Mapping, Sequence

import click

TASKS = ("speech", "music", "symbolic", "activity")


@click.command(no_args_is_help=True)
@click.argument("task", type=click.Choice(TASKS))
@click.option(
    "--data", metavar="DIR", required=True, help="The folder of the corpora, or of recordings of your own."
)
@click.option("--out", metavar="DIR", help="The folder of models to write to; default: the installed ones.")
@click.option(
    "--smoke", is_flag=True, help="A little of everything, to see that it runs; nothing is learned."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True, help="To measure by.")
def train(task: str, data: str, out: str | None, smoke: bool, seed: int, folds: int) -> None:
    """Train the model of TASK on the corpora in DIR; write weights and model card.

    The measures on the card come from folds that keep speakers, songs or artists apart; the weights from one
    training on everything.

    \b
    moodstream train speech --data ../shared/data
    moodstream train music --data ../shared/data --out my-models --seed 1
    """
    from rich.console import Console

    from moodstream.models import training
    from moodstream.pipelines.display import stages
    from moodstream.transforms.errors import UsageError

    try:
        with stages(Console(stderr=True)) as progress:
            card = training.train(task, data, out, folds=folds, seed=seed, smoke=smoke, progress=progress)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error
    click.echo(f"{card.name} {card.version}")
    _print(card.metrics)


@click.command(no_args_is_help=True)
@click.argument("task", type=click.Choice(TASKS))
@click.option("--data", metavar="DIR", required=True, help="The folder of the corpora.")
@click.option("--model", metavar="DIR", help="The folder of models to measure; default: the installed ones.")
@click.option("--full", is_flag=True, help="Train every fold anew, not only one.")
def evaluate(task: str, data: str, model: str | None, full: bool) -> None:
    """Measure the model of TASK on the corpora in DIR.

    One fold is trained anew and must agree with the predictions that were kept from training; the measures
    are over all of them. Each comes with its 95 % interval, resampled over speakers, songs or artists.

    \b
    moodstream evaluate speech --data ../shared/data
    moodstream evaluate symbolic --data ../shared/data --full
    """
    from rich.console import Console

    from moodstream.models import training
    from moodstream.pipelines.display import stages
    from moodstream.transforms.errors import UsageError

    try:
        with stages(Console(stderr=True)) as progress:
            measures = training.evaluate(task, data, model, full=full, progress=progress)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error
    _print({name: (one.value, one.low, one.high) for name, one in measures.items()})


def _print(measures: Mapping[str, Sequence[float]]) -> None:
    width = max(map(len, measures), default=0)
    for name, (value, low, high) in measures.items():
        click.echo(f"{name:<{width}}  {value:.3f}  [{low:.3f}, {high:.3f}]")
