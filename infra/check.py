"""What linters do not see: the layout that packaging, type checkers and readers rely on.

`python infra/check.py` prints every breach and exits 1 if there is one. Each rule is a function that takes
the root of a checkout and yields messages, so that tests can run it on a broken copy.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("models", "transforms", "sinks", "pipelines", "serving")
# What a folder may import of ours; `sinks` sees only the words of `transforms`, not its steps.
ALLOWED = {
    "models": ("models",),
    "transforms": ("models", "transforms"),
    "sinks": ("sinks", "transforms.elements", "transforms.errors", "transforms.tables"),
    "pipelines": ("models", "transforms", "sinks", "pipelines"),
    "serving": FOLDERS,
}
COMMANDS = "pipelines/commands/"  # the command line: it alone may import `serving`, too
# Written in pieces, so that this file does not hold what it looks for.
HOSTS = "|".join(
    ("python" + "hosted", "pypi" + r"\.org", "repo" + r"\.maven", "registry" + r"\.npm", "deb" + r"\.debian")
)
MACHINE_PATHS = "|".join(f"/{name}/" for name in ("work", "root", "home"))
FORBIDDEN = re.compile(rf"{HOSTS}|(?<![\w.~$}}])(?:{MACHINE_PATHS})")
BINARY = {
    ".safetensors",
    ".png",
    ".mp3",
    ".ogg",
    ".opus",
    ".flac",
    ".wav",
    ".mid",
    ".midi",
    ".mp4",
    ".webm",
    ".parquet",
}


def folders(root: Path) -> list[str]:
    """The package folders that exist."""
    return [name for name in FOLDERS if (root / name).is_dir()]


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Every Python module of the package with the folder it belongs to."""
    for folder in folders(root):
        for path in sorted((root / folder).rglob("*.py")):
            yield folder, path


def typing_links(root: Path) -> Iterator[str]:
    """Type checkers find the package only through links under infra/typing."""
    for folder in folders(root):
        link = root / "infra" / "typing" / "moodstream" / folder
        if not link.is_symlink() or link.resolve() != (root / folder).resolve():
            place = link.relative_to(root)
            yield f"{place} must be a link to {folder}: ln -s ../../../{folder} {place}"


def package_list(root: Path) -> Iterator[str]:
    """setuptools installs only what the list names, so the list must equal the disk."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    on_disk = {
        "moodstream." + ".".join(path.parent.relative_to(root).parts)
        for _, path in modules(root)
        if path.name == "__init__.py"
    }
    for name in sorted(on_disk - listed):
        yield f"{name} is on disk but not in pyproject.toml's packages"
    for name in sorted(listed - on_disk):
        yield f"{name} is in pyproject.toml's packages but has no __init__.py on disk"
    for folder in folders(root):  # it holds for the folders inside too
        if not (root / folder / "py.typed").is_file():
            yield f"{folder}/py.typed is missing"
    if (root / "__init__.py").exists():
        yield "the root must have no __init__.py"


def constraints(root: Path) -> Iterator[str]:
    """The constraints file holds names and versions only."""
    for number, line in enumerate((root / "constraints.txt").read_text(encoding="utf-8").splitlines(), 1):
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[A-Za-z0-9.!]+", line):
            yield f"constraints.txt:{number}: not a plain name==version: {line!r}"


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def import_order(root: Path) -> Iterator[str]:
    """A folder imports only from those above it in ARCHITECTURE.md's table; Beam needs real annotations."""
    for folder, path in modules(root):
        imports = list(_imports(ast.parse(path.read_text(encoding="utf-8"))))
        place = path.relative_to(root)
        for line, name in imports:
            ours = name.removeprefix("moodstream.")
            prefixes = FOLDERS if place.as_posix().startswith(COMMANDS) else ALLOWED[folder]
            allowed = any(f"{ours}.".startswith(f"{prefix}.") for prefix in prefixes)
            # `from moodstream.transforms import elements` names the module in its last part.
            if name.startswith("moodstream.") and not allowed:
                yield f"{place}:{line}: {folder} may not import {name}"
            if name == "__future__.annotations" and any(n.startswith("apache_beam") for _, n in imports):
                yield f"{place}:{line}: Beam reads annotations at run time, so no future annotations"


def tracked_text(root: Path) -> Iterator[str]:
    """No host of a package registry and no path of somebody's machine in what we publish."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=False).stdout
    for name in filter(None, listing.decode().split("\0")):
        path = root / name
        if path.suffix in BINARY or path.is_symlink() or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            found = FORBIDDEN.search(line)
            if found:
                yield f"{name}:{number}: {found.group()!r} does not belong into the repository"


RULES: tuple[Callable[[Path], Iterator[str]], ...] = (
    typing_links,
    package_list,
    constraints,
    import_order,
    tracked_text,
)


def main() -> int:
    """Run every rule on this checkout.

    Returns:
        0 if all hold, 1 otherwise: the exit status.
    """
    breaches = [message for rule in RULES for message in rule(ROOT)]
    print("\n".join(breaches) or f"layout: {len(RULES)} rules hold")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
