"""Shelf: the models that live streams can be given, and those that new ones get.

A folder of *releases* holds one folder of models each, as `models/registry.py` loads them; a text file
`current` beside them names the one to use. What a release does not hold is the installed model. When
`current` names another one, it is loaded and tried in a thread of its own, and only then becomes `newest`: a
release that cannot be loaded, or gives no numbers, is refused with a line in the log, once, and looked at
again when its files or `current` change.

Streams that run may need a release that is current no more: so releases stay in the folder until nothing is
of them, and are found there by the versions in their cards, whatever they are called.

Conventions: one shelf a process and folder (`shelf_of`).
"""

import logging
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import yaml

from moodstream.models.base import RATE_HZ
from moodstream.transforms.engine import Engine, mark_of
from moodstream.transforms.errors import UsageError

CURRENT = "current"
LOOK_S = 5.0  # between two looks at what is current
_TRIAL_S = 8  # of noise that new models hear before anybody else does
_log = logging.getLogger(__name__)
_look = threading.Event()


class Shelf:
    """Models of one engine, for ever."""

    def __init__(self, engine: Engine) -> None:
        self._newest = engine

    @property
    def newest(self) -> Engine:
        """Whose models streams get that begin now."""
        return self._newest

    def find(self, versions: Mapping[str, str]) -> Engine:
        """The engine with these models.

        Raises:
            ValueError: it is not here.
        """
        return self.marked(mark_of(versions), ", ".join(f"{k} {v}" for k, v in versions.items()))

    def marked(self, mark: str, words: str = "") -> Engine:
        """The engine of this mark.

        Args:
            words: what it is, for people.

        Raises:
            ValueError: it is not here.
        """
        if self.newest.mark == mark:
            return self.newest
        raise ValueError(f"it is of models that are not here: {words or mark}")


class Releases(Shelf):
    """The shelf that a folder of releases is.

    Args:
        folder: of releases.
        speech: the name of the model that judges speech.
    """

    def __init__(self, folder: Path, speech: str = "speech") -> None:
        self.folder, self.speech = folder, speech
        self.on_change: list[Callable[[Engine], None]] = []
        self._seen: object = None  # what was looked at last: not again until it changes
        self._known: weakref.WeakValueDictionary[str, Engine] = weakref.WeakValueDictionary()
        super().__init__(self._load(self._current()))
        self._seen = self._look_of(self._current())

    @property
    def newest(self) -> Engine:
        """The engine of the release that was found good last."""
        return self._newest

    def marked(self, mark: str, words: str = "") -> Engine:
        engine = self._known.get(mark)
        if engine is not None:
            return engine
        for release in [*sorted(path for path in self.folder.iterdir() if path.is_dir()), None]:
            one = Engine(speech=self.speech) if release is None else self._engine(release)
            try:
                found = one.mark == mark
            except (OSError, ValueError, UsageError, yaml.YAMLError):
                continue  # a release that is not whole is none
            if found:
                return self._tried(one, release or self.folder)
        raise ValueError(f"it is of models that are no release in {self.folder}: {words or mark}")

    def look(self) -> None:
        """See whether another release is current, and take it if it is good."""
        seen: object = None
        try:
            release = self._current()
            seen = self._look_of(release)
            if seen == self._seen:
                return
            engine = self._load(release)
        except (UsageError, OSError) as error:  # the latter: files come and go while it looks
            if (seen or str(error)) != self._seen:
                _log.error("%s; streams go on with the models they have", error)
            self._seen = seen or str(error)
            return
        self._seen = seen
        if engine.mark == self._newest.mark:
            return
        _log.info("new models from %s: %s", release, news(self._newest, engine))
        self._newest = engine
        for tell in self.on_change:
            tell(engine)

    def watch(self) -> None:
        """Look again and again, in this thread, for as long as the process lives."""
        while True:
            _look.wait(LOOK_S)
            _look.clear()
            self.look()

    def _current(self) -> Path:
        """The release to use.

        Raises:
            UsageError: nothing says which one, or it is not there.
        """
        try:
            name = (self.folder / CURRENT).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UsageError(
                f"{self.folder / CURRENT} must hold the name of the release to use: {error.strerror}"
            ) from error
        if not name or Path(name).name != name or not (self.folder / name).is_dir():
            raise UsageError(f"{self.folder / CURRENT} names {name!r}, which is no folder in {self.folder}")
        return self.folder / name

    def _look_of(self, release: Path) -> object:
        """What changes when the files of a release do."""
        files = sorted(path for path in release.rglob("*") if path.is_file())
        return release, [(path, path.stat().st_mtime_ns, path.stat().st_size) for path in files]

    def _load(self, release: Path) -> Engine:
        engine = self._engine(release)
        try:
            if (known := self._known.get(engine.mark)) is not None:
                return known
            return self._tried(engine, release)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UsageError(f"{release} is no release of models: {error}") from error

    def _engine(self, release: Path) -> Engine:
        return Engine(speech=self.speech, folder=release)

    def _tried(self, engine: Engine, release: Path) -> Engine:
        """An engine whose models are loaded and say something.

        Raises:
            UsageError: they are not as they must be.
        """
        from safetensors import SafetensorError

        try:
            try_out(engine)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise UsageError(f"the models in {release} cannot be used: {error}") from error
        self._known[engine.mark] = engine
        return engine


def try_out(engine: Engine) -> None:
    """Let models hear some noise.

    Raises:
        ValueError: they give no numbers. Whatever loading raises, too.
    """
    stream = engine.audio.stream(speech=True, music=True, early=True)
    noise = np.random.default_rng(1).normal(0, 0.1, _TRIAL_S * RATE_HZ).astype(np.float32)
    (said,) = engine.audio.push([stream], [noise])
    for name, numbers in (
        ("activity", said.final.activity),
        ("speech", said.final.speech.scores),
        ("music", said.final.music.scores),
        ("speech", said.final.speech.mean[:, :2]),
        ("music", said.final.music.mean[:, :2]),
    ):
        if not len(numbers) or not np.isfinite(numbers).all():
            raise ValueError(f"the model of {name} gives no numbers")
    if not np.isfinite(engine.prior("symbolic")[0][:2]).all() or not engine.symbolic:
        raise ValueError("the model of notes says nothing of its labels")
    if engine.joining is not None and not engine.joining[0]:
        raise ValueError("the model of fusion has no version")


def news(old: Engine, new: Engine) -> str:
    """What is different, in words."""
    before, after = old.versions(), new.versions()
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(f"{name} {before.get(name, 'none')} -> {after.get(name, 'none')}" for name in names)


def look_now(*_: object) -> None:
    """Let the shelves of this process look at once what is current (a handler of signals)."""
    _look.set()


_SHELVES: dict[tuple[Path, str], Releases] = {}  # of this process


def shelf_of(folder: Path, speech: str = "speech") -> Releases:
    """The shelf of a folder, watched from now on.

    Raises:
        UsageError: nothing says which release is current, or it cannot be used.
    """
    key = folder.resolve(), speech
    if key not in _SHELVES:
        shelf = _SHELVES[key] = Releases(folder, speech)
        threading.Thread(target=shelf.watch, name="models", daemon=True).start()
    return _SHELVES[key]
