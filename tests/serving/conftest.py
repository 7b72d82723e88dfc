"""A small lake that is served: a song, a call with two sides, a MIDI piece, and media with hostile names."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from moodstream.serving.access import wire
from moodstream.serving.config import ServeConfig
from moodstream.serving.running import listen
from moodstream.serving.service import build
from moodstream.sinks.lake import LakeSink
from moodstream.transforms.elements import Commit
from tests.pipelines.conftest import MemoryLake, add_alert, add_media, add_track, write_wav

HOSTILE = (
    "<script>alert(1)</script>.mp3",
    'x"\r\nSet-Cookie: a=b.mp3',
    "'; DROP TABLE media; --",
    '=HYPERLINK("http://evil.example","click")',
    "../../etc/passwd",
    "ümläut 💥/ø?&#%2e%2e%00.mp3",
)
MakeClient = Callable[..., TestClient]


@pytest.fixture(scope="session")
def media_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files of the small lake lie."""
    folder = tmp_path_factory.mktemp("roots") / "media"
    folder.mkdir()
    write_wav(folder / "song.wav", 60)
    write_wav(folder / "call.wav", 90, 8000)
    return folder


@pytest.fixture(scope="session")
def memory_lake(media_root: Path) -> MemoryLake:
    lake = MemoryLake()

    def quiet(second: float) -> str:
        return "silence" if 22 <= second < 27 else ""

    def pauses(second: float) -> str:
        return "silence" if second % 20 < 6 else ""

    for modality in ("fused", "music"):
        add_track(lake, "song.wav", 60.2, modality, seed=4, known=quiet)
    add_media(lake, "song.wav", 60.2, "audio", str(media_root / "song.wav"),
              tags={"title": "A <b>song</b>", "artist": "Some Body", "genre": "rock"})  # fmt: skip
    call = "calls/call.wav"
    add_track(lake, call, 90, "speech", channel="agent", role="agent", seed=2, known=lambda s: "role")
    add_track(lake, call, 90, "speech", channel="customer", role="customer", seed=3, known=pauses)
    add_media(lake, call, 90, "call", str(media_root / "call.wav"), tags={}, modalities=["speech"])
    add_alert(lake, call, 31_000, 36_500)
    add_track(lake, "piece.mid", 40, "symbolic", seed=7)
    add_media(
        lake, "piece.mid", 40, "midi", str(media_root / "gone.mid"), rate_hz=None, channels=None, tags={}
    )
    for seed, name in enumerate(HOSTILE):
        add_track(lake, name, 12, "music", seed=20 + seed)
        add_media(lake, name, 12, "audio", name, tags={"title": name, "artist": name})
    return lake


def write_lake(lake: MemoryLake, folder: Path, media_ids: list[str] | None = None) -> Path:
    """Rows in memory into a real lake, or further into one."""
    sink = LakeSink(folder)
    sink.open()
    for media_id in media_ids or lake.media_ids():
        tables = ("curve", "episode", "summary", "alert", "media")
        sink.write(Commit(media_id, 0, {table: lake.rows(table, media_id) for table in tables}))
    sink.flush()
    sink.close()
    return folder


@pytest.fixture(scope="session")
def served_lake(memory_lake: MemoryLake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small lake on disk; not to be written to."""
    return write_lake(memory_lake, tmp_path_factory.mktemp("served") / "lake")


@pytest.fixture
def own_lake(served_lake: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    ignored = shutil.ignore_patterns("_serve", "_index")
    return Path(shutil.copytree(served_lake, tmp_path / "lake", ignore=ignored))


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of an application that really listens, ready."""
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, **wire.settings()))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            end = time.monotonic() + 60
            while not server.started or not app.state.store.state.ready:
                assert thread.is_alive(), app.state.failed
                assert time.monotonic() < end
                time.sleep(0.02)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="session")
def make_client() -> Iterator[MakeClient]:
    """Starts services: `make_client(lake, media_roots=(folder,))`. They end with the tests."""
    with ExitStack() as stack:

        def make(lake: Path, **settings: Any) -> TestClient:
            app = build(ServeConfig(lake, **settings))
            return stack.enter_context(TestClient(app, base_url="http://127.0.0.1:8080"))

        yield make


@pytest.fixture(scope="session")
def client(make_client: MakeClient, served_lake: Path, media_root: Path) -> TestClient:
    """A service on loopback over the small lake, ready."""
    client = make_client(served_lake, media_roots=(media_root,))
    assert client.app.state.store.wait(60)  # type: ignore[attr-defined]
    return client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium with a microphone that beeps; for one module, as Playwright's loop would disturb others."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium here")
    fakes = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", *fakes]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """`open_page(address, **context)` opens a page of its own; at the end none may have complained."""
    contexts, complaints = [], []

    def hear(said: Any) -> None:
        silent = "/v1/sound?" in said.location["url"]  # no file: the page says so; Chromium does now and then
        if said.type == "error" and not silent:
            complaints.append(said.text)

    def make(address: str, **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | settings)
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error.stack or error)))
        page.on("console", hear)
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        origin = "/".join(address.split("/")[:3])

        def watch(request: Any) -> None:
            if not request.url.startswith(origin):
                complaints.append(f"asked elsewhere: {request.url}")

        page.on("request", watch)
        page.complaints = complaints
        page.goto(address)
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []
