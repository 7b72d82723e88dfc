"""The page over the service itself: a small lake, sounds, an index, a microphone, a real broker's calls."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from kafka import KafkaProducer

from moodstream.serving.config import ServeConfig
from moodstream.serving.live.microphone import Microphones
from moodstream.serving.search.build import update
from moodstream.serving.service import build
from tests.pipelines.conftest import MemoryLake
from tests.serving.conftest import HOSTILE
from tests.support.fake_engine import FakeEngine
from tests.support.kafka_topics import make_topics
from tests.support.live_rows import alert, commit, curve, media
from tests.support.live_service import served

if TYPE_CHECKING:
    from infra.kafka.broker import Broker

OpenPage = Callable[..., Any]


@pytest.fixture(scope="module")
def producer(broker: "Broker") -> Iterator[KafkaProducer]:
    make_topics(broker.bootstrap, "page-packets", ["page"])
    found = KafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="page-writer")
    found.init_transactions()
    yield found
    found.close(timeout=5)


@pytest.fixture(scope="module")
def address(
    broker: "Broker",
    producer: KafkaProducer,
    served_lake: Path,
    media_root: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    lake = tmp_path_factory.mktemp("page") / "lake"
    shutil.copytree(served_lake, lake, ignore=shutil.ignore_patterns("_serve", "_index"))
    update(lake)
    config = ServeConfig(lake, broker.bootstrap, prefix="page.", media_roots=(media_root,))
    app = build(config)
    with served(app) as url:
        before = app.state.microphones
        app.state.microphones = fake = Microphones(config, engine=FakeEngine)
        yield f"{url}/"
        fake.close()
        app.state.microphones = before


def until(page: Any, script: str, argument: Any = None) -> None:
    """Wait for something to come true in the page."""
    end = time.monotonic() + 30
    while not page.evaluate(script, argument):
        assert time.monotonic() < end, script
        page.wait_for_timeout(40)


def test_everything_in_the_lake_is_listed_and_names_stay_names(
    address: str, open_page: OpenPage, memory_lake: MemoryLake
) -> None:
    page = open_page(address)
    page.wait_for_selector(".rows .track-row .name")
    assert f"{len(memory_lake.media_ids())} tracks" in page.inner_text(".head")
    page.select_option("#f-kind", "call")
    until(page, "document.querySelector('.head')?.innerText.includes('1 track')")
    until(page, "document.querySelector('#row-0')?.innerText.includes('1 alert')")
    for name in HOSTILE:
        page.evaluate("h => { location.hash = h; }", f"#/track?media={quote(name, safe='')}")
        until(page, "n => document.querySelector('main h1')?.textContent === n", name)
        page.wait_for_selector(".lanes canvas")
    page.complaints[:] = [said for said in page.complaints if "404" not in said]  # their sounds are not here


def test_a_song_of_the_media_root_plays_and_a_click_seeks(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}#/track?media=song.wav")
    page.wait_for_selector(".lanes canvas")
    assert page.inner_text("h1") == "A <b>song</b>"
    page.keyboard.press(" ")
    until(page, "document.querySelector('audio').currentTime > 0.3")
    page.keyboard.press(" ")
    box = page.locator(".lanes").bounding_box()
    page.mouse.click(box["x"] + 34 + (box["width"] - 44) * 24 / 60.2, box["y"] + 100)  # it is quiet there
    until(page, "Math.abs(document.querySelector('audio').currentTime - 24) < 0.5")
    assert "no estimate: silence" in page.inner_text("#tip")


def test_an_agents_side_says_why_it_has_no_emotions(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}#/track?media=calls%2Fcall.wav")
    page.wait_for_selector(".lanes canvas")
    agent = page.locator(".channel", has=page.locator("h2", has_text="agent"))
    assert "No emotions are estimated for this role" in agent.inner_text()
    assert agent.locator(".plane").count() == 0
    assert page.locator(".alerts li").count() == 1


def test_an_arc_that_is_drawn_finds_tracks(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}#/search")
    page.click("button:text-is('Arch')")
    page.wait_for_selector(".results li")
    assert "away on average" in page.inner_text(".results li .why >> nth=0")
    for name in ("rises", "falls", "near", "moved_by", "quadrant"):
        page.evaluate("h => { location.hash = h; }", f"#/search?ask={name}")
        until(page, "n => document.querySelector('.question.asked')?.dataset.name === n", name)
        until(page, "document.querySelector('.results:not([aria-busy]) :is(li, .message)')")
        assert page.locator(".message.bad").count() == 0, page.inner_text(".results")
    page.evaluate("h => { location.hash = h; }", "#/search?like=song.wav")
    page.wait_for_selector(".results li")


def test_models_are_shown_with_their_limits(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}#/models")
    page.wait_for_selector(".model")
    assert "Where it fails" in page.inner_text(".models")


def test_the_microphone_is_heard_by_the_live_jobs_own_session(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}#/microphone", permissions=["microphone"])
    page.click(".listen")
    page.wait_for_selector(".sides canvas")
    until(page, "document.querySelector('.numbers').innerText.length > 0")
    page.click("button:text-is('Stop')")
    page.wait_for_selector("text=heard, nothing kept")


def test_calls_of_a_real_broker_ring_on_the_board(
    address: str, open_page: OpenPage, producer: KafkaProducer
) -> None:
    def tell(**rows: list[dict[str, object]]) -> None:
        commit(producer, "page.", rows)

    names = [f"call {i}" for i in range(30)]
    tell(curve=[curve(name, at) for name in names for at in range(0, 5_000, 500)])
    page = open_page(f"{address}#/live")
    until(page, "document.querySelector('.head')?.innerText.includes('30 calls')")
    assert page.inner_text("#call-0 .name") == "call 0"
    tell(curve=[curve("call 21", 5_000)], alert=[alert("call 21", 4_000)])
    until(page, "document.querySelector('#call-0 .name')?.innerText === 'call 21'")
    until(page, "document.querySelector('#polite').textContent.includes('call call 21')")
    page.click("#call-0")
    page.wait_for_selector(".closeup .lanes")
    before = page.inner_text("#call-0 .call-head .num")
    tell(curve=[curve("call 21", at) for at in range(5_500, 9_000, 500)])
    until(page, "t => document.querySelector('#call-0 .call-head .num').innerText !== t", before)
    tell(media=[media("call 21")])
    until(page, "document.querySelector('.head')?.innerText.includes('29 calls')")
