"""`moodstream export-model`: models for runtimes without torch."""

import click


@click.command("export-model", no_args_is_help=True)
@click.argument("name")
@click.option("--to", "path", metavar="FILE", required=True, help="Where to write, e.g. speech.onnx.")
@click.option("--models", "folder", metavar="DIR", help="The folder of models; default: the installed ones.")
def export_model(name: str, path: str, folder: str | None) -> None:
    """Write the model NAME as an ONNX file; `front-end` turns samples into what models on sound take.

    Inputs, outputs, labels, version and licence are in the metadata of the file. Needs moodstream[onnx].

    \b
    moodstream export-model front-end --to front-end.onnx
    moodstream export-model speech --to speech.onnx
    """
    from pathlib import Path

    from moodstream.models import registry
    from moodstream.models.onnx_export import export_model as write
    from moodstream.transforms.errors import UsageError

    try:
        target = write(name, path, Path(folder) if folder else registry.FOLDER)
    except (FileNotFoundError, ImportError) as error:
        raise UsageError(str(error)) from error
    click.echo(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
