"""`moodstream train` and `moodstream evaluate`: make the models again, and measure them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from moodstream.models.study import Measures
    from moodstream.models.training import Evaluation

TASKS = ("speech", "music", "symbolic", "listener", "activity", "diarization", "small", "fusion")
EXIT_STALE = 1
ALL = "all"

_data = click.option(
    "--data",
    metavar="DIR",
    help="The folder of the corpora, or of recordings of your own with their labels in a csv: file and any "
    "of start_ms, end_ms, group, valence, arousal, dominance, emotion, quadrant. Default: MOODSTREAM_DATA.",
)
_device = click.option(
    "--device", metavar="NAME", help="Where to fit: cpu, cuda, cuda:1. Default: a GPU where there is one."
)


@click.command(no_args_is_help=True)
@click.argument("task", type=click.Choice(TASKS))
@_data
@click.option("--out", metavar="DIR", help="The folder of models to write to; default: the installed ones.")
@click.option("--name", metavar="NAME", help="Of the model; default: TASK, which is what `analyze` uses.")
@click.option(
    "--corpora", metavar="NAME,NAME", default="", help="Train on these alone; default: all of TASK."
)
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True, help="To measure by.")
@click.option("--seed", type=int, default=0, show_default=True, help="Deals the folds, starts the networks.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many to measure with, counting up from --seed: measures are means, the weights the first.",
)
@click.option("--fresh", is_flag=True, help="Fit again what an earlier run has kept.")
@click.option(
    "--smoke", is_flag=True, help="A little of everything, to see that it runs; nothing is learned."
)
@_device
def train(
    task: str,
    data: str | None,
    out: str | None,
    name: str | None,
    corpora: str,
    folds: int,
    seed: int,
    seeds: int,
    fresh: bool,
    smoke: bool,
    device: str | None,
) -> None:
    """Train the model of TASK on the corpora in DIR; write weights, licence and model card.

    The measures on the card come from folds that keep speakers, songs or artists apart; the weights from one
    training on everything. Every fit is kept in the cache: what was stopped goes on with the same command.

    \b
    moodstream train speech --data ../shared/data
    moodstream train music --data ../shared/data --out my-models --seeds 3
    moodstream train speech --corpora tava --name clean-speech
    """
    from rich.console import Console

    from moodstream.models import training
    from moodstream.models.corpora import DataError
    from moodstream.pipelines.display import stages
    from moodstream.transforms.errors import UsageError

    _choose(device)
    chosen = [one.strip() for one in corpora.split(",") if one.strip()]
    try:
        with stages(Console(stderr=True)) as progress:
            card = training.train(
                task,
                data,
                out,
                folds=folds,
                seed=seed,
                seeds=seeds,
                corpora=chosen,
                name=name,
                smoke=smoke,
                fresh=fresh,
                progress=progress,
            )
    except (FileNotFoundError, DataError) as error:
        raise UsageError(str(error)) from error
    click.echo(f"{card.name} {card.version}")
    for line in table(card.metrics):
        click.echo(line)


@click.command()
@click.argument("model", default=ALL)
@_data
@click.option("--models", "folder", metavar="DIR", help="The folder of models; default: the installed ones.")
@click.option(
    "--stored", is_flag=True, help="Check and measure the stored predictions only: no data, no fit."
)
@click.option("--full", is_flag=True, help="Train every fold anew, not only one.")
@click.option(
    "--leave-one-corpus-out",
    "leave_one_out",
    is_flag=True,
    help="Measure on each corpus what the others teach, and keep that with the model.",
)
@click.option(
    "--degraded",
    is_flag=True,
    help="Measure instead what telephone lines (G.711), babble and level cost, out of fold (speech).",
)
@click.option(
    "--self-learning",
    "self_learning",
    is_flag=True,
    help="Measure instead what self-learning of segments gains, out of fold (music, speech).",
)
@_device
def evaluate(
    model: str,
    data: str | None,
    folder: str | None,
    stored: bool,
    full: bool,
    leave_one_out: bool,
    degraded: bool,
    self_learning: bool,
    device: str | None,
) -> int:
    """Check and measure MODEL, or all that are installed.

    The tables are computed from the out-of-fold predictions that were kept from training, after checking by
    hashes that these belong to the weights, the folds and the data; one fold is trained anew and must agree.
    Each measure comes with its 95 % interval, resampled over speakers, songs or artists. Exit status 1 when
    something is stale.

    \b
    moodstream evaluate --stored
    moodstream evaluate speech --data ../shared/data
    moodstream evaluate speech --data ../shared/data --leave-one-corpus-out
    moodstream evaluate speech --data ../shared/data --degraded
    moodstream evaluate music --data ../shared/data --self-learning
    """
    from pathlib import Path

    from rich.console import Console

    from moodstream.models import registry, training
    from moodstream.models.corpora import DataError
    from moodstream.models.evaluation import StaleError
    from moodstream.pipelines.display import stages
    from moodstream.transforms.errors import UsageError

    _choose(device)
    if degraded:
        return _degraded(model, data)
    if self_learning:
        return _self_learning(model, data)
    models = Path(folder) if folder else registry.FOLDER
    names = [card.name for card in registry.installed(models)] if model == ALL else [model]
    if not names:
        raise UsageError(f"no models in {models}: make them with `moodstream train`")
    status = 0
    for name in names:
        try:
            with stages(Console(stderr=True)) as progress:
                found = training.evaluate(
                    name,
                    data,
                    models,
                    stored=stored,
                    full=full,
                    leave_one_out=leave_one_out,
                    progress=progress,
                )
        except (FileNotFoundError, DataError) as error:
            raise UsageError(str(error)) from error
        except StaleError as error:
            click.echo(f"moodstream: {error}", err=True)
            status = EXIT_STALE
            continue
        for line in report(found):
            click.echo(line)
    return status


def _degraded(model: str, data: str | None) -> int:
    from rich.console import Console

    from moodstream.models import registry, training
    from moodstream.models.audio_task import Task
    from moodstream.models.corpora import DataError
    from moodstream.models.robustness import measure_degraded
    from moodstream.pipelines.display import stages
    from moodstream.transforms.errors import UsageError

    try:
        card = registry.read_card("speech" if model == ALL else model)
        task = training.task_named(card.task)
        if not isinstance(task, Task):
            raise UsageError(f"--degraded measures models that hear sound frame by frame, not {card.name}")
        with stages(Console(stderr=True)) as progress:
            found = measure_degraded(task, data, seed=card.seed, progress=progress)
    except (FileNotFoundError, DataError) as error:
        raise UsageError(str(error)) from error
    for line in table(_rows(found)):
        click.echo(line)
    return 0


def _self_learning(model: str, data: str | None) -> int:
    from rich.console import Console

    from moodstream.models.corpora import DataError
    from moodstream.models.segment_study import self_learning
    from moodstream.models.segment_tasks import MATERIALS
    from moodstream.pipelines.display import stages
    from moodstream.transforms.errors import UsageError

    for task in MATERIALS if model == ALL else (model,):
        try:
            with stages(Console(stderr=True)) as progress:
                found = self_learning(task, data, progress=progress)
        except (FileNotFoundError, DataError) as error:
            raise UsageError(str(error)) from error
        for line in table(_rows(found)):
            click.echo(line)
    return 0


def report(found: "Evaluation") -> Iterator[str]:
    """What is said about one model."""
    card = found.card
    seeds = ", ".join(map(str, card.seeds or [card.seed]))
    yield f"{card.name} {card.version}, {card.date}, {card.machine or 'machine unknown'}"
    yield f"  {card.licence}"
    yield from (f"  {note}" for note in found.notes)
    yield f"\nout of fold: {card.folds}; seeds {seeds}"
    yield from table(_rows(found.measures), card.task)
    for title, measures in (
        ("uncertainties, of groups that had no part in setting them", found.reliable),
        ("corpora that were left out of the training altogether", found.cross),
        ("the weights themselves, on data that they were not trained on", found.unseen),
    ):
        if measures:
            yield f"\n{title}"
            yield from table(_rows(measures))
    yield ""


def table(rows: Mapping[str, Sequence[float]], task: str | None = None) -> Iterator[str]:
    """Measures with their intervals, and beside them the targets of a task, if one is named."""
    from moodstream.models.targets import targets

    goals = targets(task) if task else {}
    width = max(map(len, [*rows, *goals]), default=0)
    for name, (value, low, high) in rows.items():
        verdict = goals[name].verdict(value) if name in goals else ""
        yield f"{name:<{width}}  {value:.3f}  [{low:.3f}, {high:.3f}]  {verdict}".rstrip()
    for name, goal in goals.items():
        if name not in rows:
            yield f"{name:<{width}}  not measured           {goal.verdict(None)}"


def _rows(measures: "Measures") -> dict[str, list[float]]:
    from moodstream.models.harness import rounded

    return rounded(measures)


def _choose(device: str | None) -> None:
    if device:
        import os

        os.environ["MOODSTREAM_DEVICE"] = device
