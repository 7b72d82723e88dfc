"""The terminal view: what is drawn where, in any width, with and without colour."""

import io

import numpy as np
import pytest
from rich.console import Console

from moodstream.pipelines import show, view
from moodstream.transforms.errors import UsageError


def _text(lake, media_id, width=80, **options):
    out = io.StringIO()
    show.show(view.load(lake, media_id), Console(file=out, width=width, force_terminal=False), **options)
    return out.getvalue()


def test_braille_draws_a_level_where_it_lies():
    top, middle = show.braille(np.full(4, 1.0), 5), show.braille(np.zeros(4), 5)
    assert (top[0] == 0x09).all()  # both dots of the first row
    assert not top[1:].any()
    assert middle[2].all()
    assert not middle[[0, 1, 3, 4]].any()


def test_braille_joins_neighbours_and_leaves_gaps():
    signs = show.braille(np.array([1.0, -1.0, np.nan, np.nan]), 3)
    assert signs[:, 0].all()  # the fall crosses every row
    assert not signs[:, 1].any()


@pytest.mark.parametrize("bins", [1, 3, 7, 10, 25])
def test_pool_agrees_with_plain_means(bins):
    values = np.array([0.1, np.nan, 0.3, 0.2, np.nan, np.nan, -0.5, 0.9, 0.0, 1.0], np.float32)
    expected = []
    for b in range(bins):
        lo = b * 10 // bins
        part = values[lo : max(lo + 1, (b + 1) * 10 // bins)]
        expected.append(np.nan if np.isnan(part).all() else np.nanmean(part))
    np.testing.assert_allclose(show.pool(values, bins), expected, atol=1e-6)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(small_lake, width):
    for media_id in small_lake.media_ids():
        chart = [
            line for line in _text(small_lake, media_id, width).splitlines() if "│" in line or "┤" in line
        ]
        assert chart
        assert max(map(len, chart)) <= width


def test_a_pipe_gets_plain_text_with_the_facts(small_lake):
    text = _text(small_lake, "song.wav")
    assert "\x1b" not in text
    assert "mix · fused" in text
    assert "mix · music" not in text  # the best track only
    assert "▏calm" in text
    assert "no estimate where: silence" in text


def test_a_call_shows_both_sides_and_no_emotions_of_the_agent(small_lake):
    text = _text(small_lake, "calls/call.wav")
    agent, customer = text.split("customer · speech")
    assert "not estimated for this role" in agent
    assert "valence" not in agent
    assert "valence" in customer
    assert "sentiment by quarter -1.5 -3.0 +0.5 +2.0" in " ".join(customer.split())


def test_a_call_shows_its_alerts(small_lake):
    text = " ".join(_text(small_lake, "calls/call.wav", width=120).split())
    assert "0:31 0:36 angry <customer> critical customer anger above 0.5 for 4 s: held 5.5 s" in text
    assert "alerts" not in _text(small_lake, "song.wav")


def test_tracks_can_be_chosen(small_lake):
    assert "mix · music" in _text(small_lake, "song.wav", modality="music")
    assert "agent · speech" not in _text(small_lake, "calls/call.wav", channel="customer")
    with pytest.raises(UsageError, match="its tracks: agent · speech, customer · speech"):
        _text(small_lake, "calls/call.wav", channel="left")


def test_a_wrong_name_is_answered_with_close_ones(small_lake):
    with pytest.raises(UsageError, match=r"no media 'call.wav'; close to it: 'calls/call.wav'"):
        view.load(small_lake, "call.wav")


def test_grid_of_the_view(small_lake):
    song = view.load(small_lake, "song.wav")
    assert len(song.tracks[0].mean) == 121  # 60.2 s: the last cell is a part of one
    known = np.isfinite(song.tracks[0].mean[:, 0])
    assert [i for i, reason in enumerate(song.tracks[0].reason) if reason] == list(np.flatnonzero(~known))
    assert [track.modality for track in song.tracks] == ["fused", "music"]
