"""The command line: `moodstream COMMAND`, one module a command in `pipelines/commands/`.

Exit status: 0 all done; 2 the command is wrong and nothing was done; 3 with `--strict`, something ended in
the dead letters; 1 a store refused, or a bug (with its traceback); 130 stopped by Ctrl-C. The modules of the
commands import click alone, whatever is heavy is imported when one runs: help must be there at once.
"""

import logging
import os
import re
import sys
from collections.abc import Sequence

import click

from moodstream.pipelines.commands.alerts import alerts
from moodstream.pipelines.commands.analyze import STOPPED, analyze
from moodstream.pipelines.commands.compact import compact
from moodstream.pipelines.commands.export import export
from moodstream.pipelines.commands.export_model import export_model
from moodstream.pipelines.commands.forget import forget
from moodstream.pipelines.commands.index import index
from moodstream.pipelines.commands.keys import keys
from moodstream.pipelines.commands.land import land
from moodstream.pipelines.commands.live import live
from moodstream.pipelines.commands.models import models
from moodstream.pipelines.commands.query import query
from moodstream.pipelines.commands.replay import replay
from moodstream.pipelines.commands.serve import serve
from moodstream.pipelines.commands.show import show
from moodstream.pipelines.commands.tail import tail
from moodstream.pipelines.commands.train import evaluate, train
from moodstream.pipelines.commands.verify import verify
from moodstream.transforms.errors import StoreError, UsageError

EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class _InOrder(click.Group):
    """Lists the commands in the order people need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="moodstream")
@click.option("-v", "--verbose", is_flag=True, help="Show what the libraries below log, too.")
def cli(verbose: bool) -> None:
    """Audio, MIDI and video in; valence-arousal curves and timed emotion episodes out.

    \b
    moodstream analyze music/ --out lake          analyse a folder into a lake
    moodstream show lake song.mp3                 look at one of its media
    moodstream query lake "SELECT * FROM summary" ask about all of them

    `moodstream COMMAND --help` explains a command, with examples.
    """
    # what a library logs as an error also comes as an exception, and is said once
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL, format="%(name)s: %(message)s")


for _command in (
    analyze,
    show,
    query,
    index,
    export,
    models,
    export_model,
    train,
    evaluate,
    compact,
    forget,
    serve,
    keys,
    verify,
    live,
    replay,
    tail,
    alerts,
    land,
):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit status."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status.
    """
    try:
        return int(cli.main(arguments, prog_name="moodstream", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except UsageError as error:
        click.echo(f"moodstream: {error}", err=True)
        return EXIT_USAGE
    except StoreError as error:
        said = re.sub(r" \[while running .*\]$", "", str(error))  # Beam's addition
        click.echo(
            f"moodstream: {said}\nPut that right, then give the same command again; nothing is half done.",
            err=True,
        )
        return EXIT_ERROR
    except (click.Abort, KeyboardInterrupt):
        words = list(sys.argv[1:] if arguments is None else arguments)
        click.echo(STOPPED if "analyze" in words else "moodstream: stopped.", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR


if __name__ == "__main__":
    main()
