"""`moodstream keys`: who may ask a service that others can reach."""

import click

from moodstream.serving.access.principal import SCOPES


@click.group(no_args_is_help=True)
def keys() -> None:
    """Make, list and remove the keys of `moodstream serve --keys FILE`.

    FILE holds their hashes only. A running service reads it again when it changes.

    \b
    moodstream keys add keys.yaml --name board --scope read --scope live
    moodstream keys list keys.yaml
    moodstream keys remove keys.yaml 4f1c9a20
    """


@keys.command(no_args_is_help=True)
@click.argument("file")
@click.option("--name", required=True, help="Who gets it; the audit log says so.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    default=("read",),
    show_default=True,
    help="What for: read what is stored, live what runs, admin the measures; may be given several times.",
)
@click.option("--days", type=click.IntRange(1), help="How long it is valid; for ever if left out.")
def add(file: str, name: str, scopes: tuple[str, ...], days: int | None) -> None:
    """Make a key and show it, this one time."""
    from pathlib import Path

    from moodstream.serving.access.keys import make, read, write

    path = Path(file)
    known = read(path) if path.exists() else {}
    key, entry = make(name, scopes, days)
    write(path, {**known, entry.id: entry})
    until = f", until {entry.until}" if entry.until else ""
    click.echo(f"{name}: {', '.join(sorted(entry.scopes))}{until}; shown once:", err=True)
    click.echo(key)


@keys.command("list", no_args_is_help=True)
@click.argument("file")
def listed(file: str) -> None:
    """Say whose keys there are."""
    from pathlib import Path

    from moodstream.serving.access.keys import read

    for entry in read(Path(file)).values():
        until = f"until {entry.until}" if entry.until else "for ever"
        state = until if entry.is_valid else f"ENDED {entry.until}"
        click.echo(
            f"{entry.id}  {entry.name:<24} {','.join(sorted(entry.scopes)):<16} made {entry.made}  {state}"
        )


@keys.command(no_args_is_help=True)
@click.argument("file")
@click.argument("id")
def remove(file: str, id: str) -> None:
    """Remove a key by its id (the eight letters after `mood_`): from now on it is refused."""
    from pathlib import Path

    from moodstream.serving.access.keys import read, write
    from moodstream.transforms.errors import UsageError

    known = read(Path(file))
    if id not in known:
        raise UsageError(f"{file} has no key {id}: `moodstream keys list {file}` says which there are")
    entry = known.pop(id)
    write(Path(file), known)
    click.echo(f"{entry.name} is out")
