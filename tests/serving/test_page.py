"""The page in a real browser, over a service of made-up data: each view by mouse, finger and keyboard."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from infra.page_service import HOSTILE, build, media, serving
from moodstream.serving.api.page import FOLDER

OpenPage = Callable[..., Any]
TRACK = "#/track?media=album%200%2F00005.mp3"
CALL = "#/track?media=calls%2Fparcel.flac"


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[str, Any]]:
    """Its address, and the application."""
    app = build(tracks=3_000, calls=40)
    with serving(app) as address:
        yield address, app


@pytest.fixture(scope="module")
def address(service: tuple[str, Any]) -> str:
    return service[0]


def until(page: Any, script: str, argument: Any = None) -> None:
    """Wait for something to come true in the page. Playwright's own way is forbidden by the page's policy."""
    end = time.monotonic() + 30
    while not page.evaluate(script, argument):
        assert time.monotonic() < end, script
        page.wait_for_timeout(40)


def until_python(page: Any, come_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not come_true():
        assert time.monotonic() < end
        page.wait_for_timeout(40)


def clock_s(page: Any) -> float:
    minutes, seconds = page.inner_text(".time b").split(":")
    return 60 * int(minutes) + float(seconds)


# ---------------------------------------------------------------- files


def test_every_file_that_is_named_is_there() -> None:
    for name in re.findall(r'(?:href|src)="([\w/.-]+)"', (FOLDER / "index.html").read_text()):
        if not name.startswith("/v1"):
            assert (FOLDER / name).is_file(), name
    for file in FOLDER.rglob("*.js"):
        for name in re.findall(r"""(?:from|import\()\s*"(\.[^"]+)\"""", file.read_text()):
            assert (file.parent / name).resolve().is_file(), f"{file.name} imports {name}"


def test_text_never_becomes_markup_and_nothing_comes_from_elsewhere() -> None:
    for file in [*FOLDER.rglob("*.js"), *FOLDER.rglob("*.css"), *FOLDER.rglob("*.html")]:
        text = file.read_text()
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "srcdoc"):
            assert word not in text, f"{file.name}: {word}"
        assert not re.search(r"https?://(?!www\.w3\.org/|127\.0\.0\.1)", text.replace("https:// and", "")), (
            file
        )


def test_valence_and_arousal_differ_for_every_kind_of_colour_vision() -> None:
    simulations = {  # Machado et al. 2009, severity 1, on linear RGB
        "protan": (0.152, 1.053, -0.205, 0.115, 0.786, 0.099, -0.004, -0.048, 1.052),
        "deutan": (0.367, 0.861, -0.228, 0.280, 0.673, 0.047, -0.012, 0.043, 0.969),
        "tritan": (1.256, -0.077, -0.179, -0.078, 0.931, 0.148, 0.005, 0.691, 0.304),
    }
    css = (FOLDER / "css/base.css").read_text()
    for name in ("valence", "arousal"):
        assert len(re.findall(rf"--{name}: #", css)) == 3
    pairs = zip(*(re.findall(rf"--{name}: #(\w{{6}})", css) for name in ("valence", "arousal")), strict=True)
    for valence, arousal in pairs:
        for matrix in simulations.values():
            assert abs(_lab_b(valence, matrix) - _lab_b(arousal, matrix)) > 25


def _lab_b(code: str, matrix: tuple[float, ...]) -> float:
    """How yellow (or red, for the tritan) rather than blue a colour looks: the larger of CIELAB's a and b."""
    linear = [(int(code[i : i + 2], 16) / 255) ** 2.2 for i in (0, 2, 4)]
    r, g, b = (max(sum(matrix[3 * k + i] * linear[i] for i in range(3)), 0.0) for k in range(3))
    x, y, z = (
        0.4124 * r + 0.3576 * g + 0.1805 * b,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        0.0193 * r + 0.1192 * g + 0.9505 * b,
    )
    f = [max(v, 1e-6) ** (1 / 3) for v in (x / 0.9505, y, z / 1.089)]
    a, bb = 500 * (f[0] - f[1]), 200 * (f[1] - f[2])
    return a if abs(a) > abs(bb) else bb


# ---------------------------------------------------------------- catalogue


def test_catalogue_filters_sorts_and_remembers_in_the_address(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    page.wait_for_selector(".rows .track-row .name")
    assert "3 000 tracks" in page.inner_text(".head")
    assert page.locator(".rows .name", has_text=HOSTILE).count() == 1  # as text
    page.fill("#f-q", "amber night")
    until(page, "!document.querySelector('.head')?.innerText.includes('3 000')")
    names = page.locator(".rows .track-row:not([hidden]) .name").all_inner_texts()
    assert names
    assert all("amber night" in name.lower() for name in names)
    assert "q=amber+night" in page.url
    page.reload()
    page.wait_for_selector(".rows .track-row .name")
    again = page.locator(".rows .track-row:not([hidden]) .name").all_inner_texts()
    assert sorted(again) == sorted(names)
    page.fill("#f-q", "")
    page.click(".headings >> text=Arousal")
    until(page, "document.querySelector('.headings [aria-sort=descending]')?.innerText.includes('Arousal')")
    most = max(media(i)["channels"][-1]["arousal_mean"] for i in range(3_000))
    until(page, "v => document.querySelector('#row-0 .arousal').innerText === v", f"+{most:.2f}")
    page.select_option("#f-kind", "call")
    until(page, "document.querySelector('.head')?.innerText.includes('1 track')")
    page.fill("#f-q", "nothing is called that")
    page.click("text=Take the filters away")
    until(page, "document.querySelector('.head')?.innerText.includes('3 000')")


def test_catalogue_draws_only_what_is_seen_down_to_the_last_row(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    page.wait_for_selector(".rows .track-row .name")
    page.focus(".rows")
    page.keyboard.press("End")
    until(page, "document.querySelector('#row-2999 .name')?.textContent === 'parcel.flac'")
    assert page.locator(".rows .track-row").count() < 60
    drawn = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)"
    assert page.locator("#row-2999 canvas").evaluate(drawn)


def test_keyboard_only_from_the_catalogue_to_a_playing_track(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}#/catalogue?q=river")
    page.wait_for_selector(".rows .track-row .name")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(40):
        if page.evaluate("document.activeElement.className") == "rows":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    name = page.inner_text(".track-row.chosen .name")
    until(page, "n => document.querySelector('#polite').textContent.includes(n)", name)  # it is said
    page.keyboard.press("Enter")
    until(
        page, "n => document.activeElement.tagName === 'H1' && document.activeElement.innerText === n", name
    )
    page.keyboard.press(" ")
    until(page, "!document.querySelector('audio').paused")
    page.keyboard.press(" ")
    until(page, "document.querySelector('audio').paused")
    before = clock_s(page)
    page.keyboard.press("ArrowRight")
    assert clock_s(page) == pytest.approx(before + 5, abs=1)
    page.keyboard.press("n")  # the next episode
    until(page, "document.querySelector('.time b').innerText === '0:40'")
    for _ in range(30):
        if page.evaluate("document.activeElement.getAttribute('role')") == "slider":
            break
        page.keyboard.press("Tab")
    assert "valence" in page.evaluate("document.activeElement.getAttribute('aria-valuetext')")


# ---------------------------------------------------------------- track


def test_track_plays_and_a_click_seeks(address: str, open_page: OpenPage) -> None:
    page = open_page(address + TRACK)
    page.wait_for_selector(".lanes canvas")
    page.click(".play")
    until(page, "document.querySelector('audio').currentTime > 0.5")
    assert page.get_attribute(".play", "aria-label") == "Pause"
    page.click(".play")
    box = page.locator(".lanes").bounding_box()
    page.mouse.click(box["x"] + 34 + (box["width"] - 44) / 2, box["y"] + 100)
    half = media(5)["duration_ms"] / 2000
    assert clock_s(page) == pytest.approx(half, abs=2)
    until(page, "s => Math.abs(document.querySelector('audio').currentTime - s) < 2", half)
    said = page.locator("#tip").inner_text()
    assert "valence" in said
    assert "±" in said


def test_track_tells_in_tables_what_it_draws_and_why_there_is_nothing(
    address: str, open_page: OpenPage
) -> None:
    page = open_page(address + CALL)
    page.wait_for_selector(".lanes canvas")
    assert "No emotions are estimated for this role" in page.inner_text(".track")
    assert "angry customer" in page.inner_text(".alerts")
    page.click(".alerts button")
    assert clock_s(page) == 31
    page.locator("summary", has_text="Curve as a table").nth(1).click()
    table = page.inner_text("table.data")
    assert "silence" in table
    assert "±" in table
    page.locator("summary", has_text="Episodes as a table").click()
    assert "anger" in page.locator("table.data").nth(1).inner_text()


def test_track_says_what_to_do_without_sound(address: str, open_page: OpenPage) -> None:
    page = open_page(address + "#/track?media=%3Cimg%20src%3Dx%20onerror%3D%22document.title%3D1%22%3E.mp3")
    page.wait_for_selector("text=Start with --media-root")
    assert page.inner_text("h1") == HOSTILE
    assert page.is_disabled(".play")
    page.complaints.clear()  # the browser itself says that the sound is not there


def test_track_zooms_compares_and_shows_another_modality(address: str, open_page: OpenPage) -> None:
    page = open_page(address + TRACK)
    page.wait_for_selector(".lanes canvas")
    page.keyboard.press("+")
    page.wait_for_selector("text=Show the whole")
    page.click("text=Show the whole")
    page.click(".tabs >> text=speech")
    until(page, "document.querySelector('.tabs [aria-pressed=true]').innerText === 'speech'")
    page.focus("#with")
    page.fill("#with", media(7)["media_id"])
    until(page, "document.querySelectorAll('.compare canvas').length === 3")
    assert media(7)["title"] in page.inner_text(".compare")
    assert "on average" in page.inner_text(".compare")
    page.click("text=by time")
    assert "with=" in page.url


def test_a_long_track_comes_coarse_and_finer_where_somebody_looks(
    service: tuple[str, Any], open_page: OpenPage
) -> None:
    address, app = service
    page = open_page(address + TRACK.replace("00005", "00004"))
    page.wait_for_selector(".lanes canvas")
    assert app.state.steps[0] == 3_000  # three hours
    page.keyboard.press("PageDown")
    for _ in range(4):
        page.keyboard.press("+")
    until_python(page, lambda: app.state.steps[0] == 500)
    _, from_ms, to_ms = app.state.steps
    assert to_ms - from_ms == pytest.approx(3 * 3_600_000 / 16, abs=1_000)
    page.click("text=Show the whole")
    drawn = """c => c.getContext('2d').getImageData(c.width * .7, 0, c.width / 5, c.height / 2).data
        .reduce((n, v) => n + (v > 0), 0)"""
    page.wait_for_timeout(500)
    assert page.locator(".lanes canvas").first.evaluate(drawn) > 5_000  # the end of it is there again


# ---------------------------------------------------------------- search


def test_search_draws_an_arc_by_mouse(service: tuple[str, Any], open_page: OpenPage) -> None:
    address, app = service
    page = open_page(f"{address}#/search")
    page.wait_for_selector(".arc canvas")
    box = page.locator(".arc").nth(1).bounding_box()
    left, width = box["x"] + 34, box["width"] - 46
    page.mouse.move(left, box["y"] + 10 + 0.9 * 108)
    page.mouse.down()
    page.mouse.move(left + width, box["y"] + 10 + 0.1 * 108, steps=3)  # quick: handles are jumped over
    page.mouse.up()
    page.wait_for_selector(".results li")
    arc = app.state.asked["arc"]
    assert [point[0] for point in arc] == [i / 8 for i in range(9)]
    assert [point[1] for point in arc] == [0] * 9
    assert [point[2] for point in arc] == pytest.approx([-0.8 + 0.2 * i for i in range(9)], abs=0.06)
    assert "distance" in page.inner_text(".results li .why >> nth=0")
    page.reload()
    page.wait_for_selector(".results li")
    assert app.state.asked["arc"] == arc  # the address holds it


def test_search_draws_an_arc_by_keyboard(service: tuple[str, Any], open_page: OpenPage) -> None:
    address, app = service
    page = open_page(f"{address}#/search")
    page.focus(".arc")
    page.keyboard.press("End")
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowUp")
    assert page.get_attribute(".arc", "aria-valuetext") == "valence +0.30 at 100 % of the track"
    page.wait_for_selector(".results li")
    assert app.state.asked["arc"][8] == [1, 0.3, 0]


def test_search_asks_questions_with_filters(service: tuple[str, Any], open_page: OpenPage) -> None:
    address, app = service
    page = open_page(f"{address}#/search")
    page.click("text=Ask")
    page.click("text=Only among")
    page.fill("#s-min", "60")
    page.select_option("[data-name=falls] [name=dimension]", "valence")
    page.select_option("[data-name=falls] [name=part]", "0.5,1")
    page.click("[data-name=falls] button")
    page.wait_for_selector(".results li")
    asked = app.state.asked
    assert asked["falls"] == {"dimension": "valence", "from": 0.5, "to": 1}
    assert asked["filters"] == {"min_duration_s": 60}
    page.click("[data-name=near] button")
    until(page, "document.querySelector('.question.asked').dataset.name === 'near'")
    page.wait_for_timeout(300)
    assert app.state.asked["near"] == {"valence": 0.4, "arousal": 0.4, "seconds": 30, "radius": 0.25}
    page.click(".results .again >> nth=3")
    until(page, "document.querySelector('#like')?.value.includes('00003')")
    page.wait_for_selector(".results li")
    assert app.state.asked["like"]["media"] == media(3)["media_id"]


# ---------------------------------------------------------------- live, microphone, key


def test_live_board_puts_alerts_first_and_says_them(service: tuple[str, Any], open_page: OpenPage) -> None:
    address, app = service
    page = open_page(f"{address}#/live")
    page.wait_for_selector(".call .name")
    until(page, "document.querySelector('.head')?.innerText.includes('40 calls')")
    assert page.locator(".call").count() < 40  # of all, those that are seen
    app.state.calls.ring(17, 60_000)
    until(page, "document.querySelector('#call-0 .name')?.innerText === 'call-017'")
    until(page, "document.querySelector('#polite').textContent.includes('angry customer, call call-017')")
    assert "angry customer" in page.inner_text("#call-0 .badge")
    before = page.inner_text("#call-0 .call-head .num")
    until(page, "t => document.querySelector('#call-0 .call-head .num').innerText !== t", before)
    page.fill("#find", "call-031")
    until(page, "document.querySelector('#call-0 .name')?.innerText === 'call-031'")
    page.fill("#find", "")
    page.focus(".board")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".closeup .plane")
    page.click("text=Calls as a table")
    until(page, "document.querySelectorAll('table.data tbody tr').length === 40")
    page.focus(".board")
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('.closeup')")


def test_live_board_comes_back_after_the_line_was_cut(open_page: OpenPage) -> None:
    app = build(tracks=3, calls=3)
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(serving(app))
        page = open_page(f"{address}#/live")
        page.wait_for_selector(".call .name")
        stack.close()
        until(page, "document.querySelector('.state').innerText.includes('trying again')")
        again = build(tracks=3, calls=5)
        with serving(again, int(address.split(":")[-1].strip("/"))):
            until(page, "document.querySelector('.head')?.innerText.includes('5 calls')")
            assert "connected" in page.inner_text(".state")
            page.goto("about:blank")
    page.complaints.clear()  # the browser itself says that the line was cut


def test_microphone_sends_16_bit_sound_and_draws_what_comes(
    service: tuple[str, Any], open_page: OpenPage
) -> None:
    address, app = service
    page = open_page(f"{address}#/microphone", permissions=["microphone"])
    page.click(".listen")
    page.wait_for_selector(".sides .plane")
    assert "valence +0.30" in page.inner_text(".numbers")
    page.click("button:text-is('Stop')")
    page.wait_for_selector("text=heard, nothing kept")
    rate_hz, samples = app.state.heard
    assert rate_hz == 16_000
    assert samples > 8_000
    beeps = np.frombuffer(app.state.sound, ">i2").astype(float)  # with the bytes swapped it would be noise
    assert np.abs(beeps).max() > 1_000
    assert np.abs(np.diff(beeps)).mean() < np.abs(beeps).mean()


def test_key_is_asked_for_and_let_go(open_page: OpenPage) -> None:
    with serving(build(tracks=5, calls=0, key="open sesame")) as address:
        page = open_page(address + TRACK.replace("00005", "00003"))
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=That key is not known")
        page.fill("#key", "open sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector(".lanes canvas")
        assert "open sesame" not in page.evaluate("document.cookie + JSON.stringify(localStorage)")
        page.complaints.clear()  # the browser itself says 401


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_fits_a_phone(address: str, open_page: OpenPage, scheme: str) -> None:
    phone = {"width": 360, "height": 740}
    page = open_page(address, viewport=phone, color_scheme=scheme, has_touch=True, is_mobile=True)
    for view in (
        "catalogue",
        TRACK[2:],
        CALL[2:],
        "search",
        "search?ask=near",
        "live",
        "microphone",
        "models",
    ):
        page.evaluate("h => { location.hash = h; }", f"#/{view}")
        until(page, "v => document.querySelector('main').dataset.view === v", view.split("?")[0])
        page.wait_for_selector("main h1")
        page.wait_for_timeout(150)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, f"{view} is {wide} wide"
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", paper)[0]) < 100) == (scheme == "dark")
    page.click("#theme")  # auto, then light
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_every_picture_and_field_has_a_name(address: str, open_page: OpenPage) -> None:
    page = open_page(address)
    nameless = """() => {
        const all = document.querySelectorAll('canvas, input, select, button, [role=slider], [role=img], a');
        const named = e => e.getAttribute('aria-label') || e.labels?.length || e.innerText
            || e.closest('[role=slider], [role=img]')?.getAttribute('aria-label');
        return [...all].filter(e => !e.closest('[hidden], [aria-hidden=true]') && !named(e))
            .map(e => e.outerHTML.slice(0, 120));
    }"""
    for view in ("catalogue", TRACK[2:], "search", "search?ask=near", "live", "microphone", "models"):
        page.evaluate("h => { location.hash = h; }", f"#/{view}")
        until(page, "v => document.querySelector('main').dataset.view === v", view.split("?")[0])
        page.wait_for_selector("main h1")
        page.wait_for_timeout(200)
        assert page.evaluate(nameless) == [], view
        assert page.locator("h1").count() == 1
        assert page.locator("main, nav, header, footer").count() == 4
