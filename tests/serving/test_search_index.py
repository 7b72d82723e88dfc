"""Answers of the index: against exact ones, against plain code, and what must not change them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.models.base import QUADRANTS
from moodstream.serving.search import searching
from moodstream.serving.search.arc_rank import drawn
from moodstream.serving.search.arcs import starts
from moodstream.serving.search.entries import Entries, decoded, key_of, make
from moodstream.serving.search.questions import (
    Arc,
    Filters,
    InQuadrant,
    Like,
    MovedBy,
    Near,
    NotIndexedError,
    Question,
    Rises,
)
from moodstream.serving.search.searching import Search
from moodstream.transforms.errors import UsageError


def entries_of(tracks, **columns) -> Entries:
    """Entries of curves [cells, 2] by name."""
    n = len(tracks)
    lengths = np.array([len(curve) for curve in tracks.values()])
    return make(
        starts(lengths),
        np.concatenate(list(tracks.values())).astype(np.float32),
        write_id=np.arange(1, n + 1),
        media_id=list(tracks),
        take=np.zeros(n, int),
        duration_ms=lengths * 500,
        tags=columns.pop("tags", [{}] * n),
        words={"channel": ["mix"] * n, "modality": ["fused"] * n, **columns.pop("words", {})},
        numbers={"estimated_share": np.ones(n), **columns},
    )


def made_up(rng, n, longest=400):
    """Tracks that move as curves do, some with gaps."""
    tracks = {}
    for i in range(n):
        walk = np.cumsum(rng.normal(0, 0.05, (int(rng.integers(1, longest)), 2)), axis=0)
        curve = np.tanh(walk + rng.normal(0, 0.5, 2))
        if rng.random() < 0.3:
            curve[rng.random(len(curve)) < 0.4] = np.nan
        tracks[f"track {i}"] = curve
    return tracks


def ask(shards, what, exact=False, **more):
    search = Search(shards, Question(what, **more))
    hits = search.exactly() if exact else search.quickly()
    names = [shards[hit.shard].texts["media_id"][hit.row].as_py() for hit in hits]
    return [(name, hit.value) for name, hit in zip(names, hits, strict=True)][: search._question.limit]


WHATS = [
    Arc(((0, -0.5, 0), (1, 0.5, 0.5))),
    Arc(((0.2, 0.3, 0), (0.5, 0, 0.9), (0.9, 0, -1)), "removed"),
    Like("track 0"),
    Like("track 0", level="removed"),
    Rises(),
    Rises("valence", 0, 0.25, falls=True),
    Near(0.2, 0.1, 5, 0.4),
    MovedBy(40),
    *(InQuadrant(name, 0.3) for name in QUADRANTS),
]


@given(st.integers(0, 10_000), st.sampled_from(WHATS))
@settings(max_examples=24, deadline=None)
def test_when_all_are_candidates_the_quick_answer_is_the_exact_one(seed, what):
    rng = np.random.default_rng(seed)
    tracks = made_up(rng, 41, 150)
    tracks["track 0"] = np.tanh(np.cumsum(rng.normal(0, 0.1, (50, 2)), axis=0))
    whole = entries_of(tracks)
    cut = int(rng.integers(0, 41))
    order = rng.permutation(len(tracks))
    shards = [whole.take(order[:cut]), whole.take(order[cut:])]
    assert ask(shards, what) == ask(shards, what, exact=True) == ask([whole], what)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "AT_ONCE", 9)
        assert ask(shards, what, exact=True, limit=3) == ask(shards, what)[:3]


@given(st.integers(0, 10_000), st.sampled_from(WHATS))
@settings(max_examples=12, deadline=None)
def test_with_few_candidates_nearly_all_of_the_best_are_found(seed, what):
    rng = np.random.default_rng(seed)
    walk = np.tanh(np.cumsum(rng.normal(0, 0.1, (50, 2)), axis=0))
    shards = [entries_of({"track 0": walk} | made_up(rng, 300, 150))]
    with pytest.MonkeyPatch.context() as patch:
        for name, count in {"ROUGH": 150, "CLOSER": 80, "MIDDLING": 40, "CURVES": 100}.items():
            patch.setattr(searching, name, count)
        quick = {name for name, _ in ask(shards, what, limit=5)}
        exact = ask(shards, what, exact=True, limit=5)
        for name in ("ROUGH", "CLOSER", "MIDDLING", "CURVES"):
            patch.setattr(searching, name, 10_000)
        assert exact == ask(shards, what, limit=5)  # each and every one was looked at
    assert len(quick & {name for name, _ in exact}) >= len(exact) - 1


def plain_values(curve, what):
    """What a question ranks a track by, from its curve [cells, 2] with NaN, as docs/search.md says it."""
    n = len(curve)
    known = np.isfinite(curve[:, 0])
    if isinstance(what, Rises):
        d = ("valence", "arousal").index(what.dimension)
        sign = -1 if what.falls else 1
        share = np.arange(n) / n
        inside = known & (share >= what.start - 1e-9) & (share < what.end - 1e-9)
        before = known & (share < what.start - 1e-9)
        if inside.sum() < 10:
            return None
        slope = np.polyfit(share[inside], curve[inside, d], 1)[0]
        rise = sign * slope * (what.end - what.start)
        higher = not before.any() or sign * (curve[inside, d].mean() - curve[before, d].mean()) > 0
        return -rise if rise > 1e-9 and higher else None
    if isinstance(what, Near):
        apart = np.hypot(curve[:, 0] - what.valence, curve[:, 1] - what.arousal)
        seconds = (apart[known] <= what.radius).sum() / 2
        return -seconds if seconds >= what.seconds else None
    assert isinstance(what, MovedBy)
    if not known.any():
        return None
    x = np.arange(n)
    line = np.column_stack([np.interp(x, x[known], curve[known, d]) for d in (0, 1)])
    begin = line[: min(10, n)].sum(axis=0) / 10
    ends = [i for i in range(19, n) if i < what.second * 2]
    far = [math.dist(line[i - 9 : i + 1].mean(axis=0), begin) for i in ends]
    return -max(far) if far and max(far) > 1e-4 else None


@given(
    st.integers(0, 10_000),
    st.sampled_from([what for what in WHATS if isinstance(what, Rises | Near | MovedBy)]),
)
@settings(max_examples=40, deadline=None)
def test_values_are_those_of_plain_code(seed, what):
    shard = entries_of(made_up(np.random.default_rng(seed), 12))
    found = dict(ask([shard], what, exact=True))
    for row in range(12):
        name = shard.texts["media_id"][row].as_py()
        wanted = plain_values(decoded(shard, [row]).astype(float), what)
        if isinstance(what, MovedBy) and wanted is not None and abs(wanted) < 0.01:
            continue  # gaps are rounded
        assert (wanted is None) == (name not in found), (name, wanted, found.get(name))
        if wanted is not None:
            assert found[name] == pytest.approx(wanted, abs=1e-3)


def arch(level=0.0, size=0.5, cells=200):
    line = level + size * np.sin(np.linspace(0, math.pi, cells))
    return np.column_stack([line, line])


def test_the_same_arc_in_another_time_and_at_another_level():
    shard = entries_of(
        {
            "a": arch(),
            "twice as long": np.repeat(arch(), 2, axis=0),
            "higher": arch(0.3),
            "flat": arch(0.318, 0.0),
            "upside down": -arch(),
            "few": arch(cells=4)[:1],
        }
    )
    kept, removed = (dict(ask([shard], Like("a", level=level))) for level in ("kept", "removed"))
    assert next(iter(kept)) == "twice as long"
    assert kept["twice as long"] == pytest.approx(0, abs=0.003)
    assert kept["higher"] == pytest.approx(0.3 * 2**0.5, abs=0.15)
    assert removed["higher"] == pytest.approx(0, abs=0.01)
    assert list(removed)[-1] == "upside down"
    assert removed["upside down"] > 3 * removed["flat"] / 2
    assert "a" not in kept


def test_a_drawn_arc_is_level_before_its_first_and_after_its_last_point():
    line = drawn(Arc(((0.25, -0.5, 0), (0.75, 0.5, 1))))
    assert line[0, 0] == -0.5
    assert line[1, -1] == 1
    assert line[0, 240] == pytest.approx(0, abs=0.01)
    tracks = {"up": np.column_stack([np.interp(np.linspace(0, 1, 300), [0.25, 0.75], [-0.5, 0.5])] * 2)}
    shard = entries_of(tracks | {"down": -tracks["up"]})
    found = ask([shard], Arc(((0.25, -0.5, -0.5), (0.75, 0.5, 0.5))))
    assert [name for name, _ in found] == ["up", "down"]
    assert found[0][1] < 0.01


def test_what_has_too_few_estimates_is_no_arc_but_is_found_otherwise():
    curve = arch()
    curve[60:] = np.nan
    shard = entries_of({"gap": curve, "a": arch()})
    assert [name for name, _ in ask([shard], Arc(((0, 0, 0), (1, 0, 0))))] == ["a"]
    assert {name for name, _ in ask([shard], Near(0.2, 0.2, 5, 0.3))} == {"gap", "a"}
    with pytest.raises(NotIndexedError, match="too few estimates"):
        ask([shard], Like("gap"))
    with pytest.raises(NotIndexedError, match="not in the index"):
        ask([shard], Like("b"))


def test_filters():
    n = 40
    shard = entries_of(
        {f"Café {i}/ü{i}.mp3": arch(cells=40 + i) for i in range(n)},
        tags=[{"genre": "rock" if i % 2 else 'ro"ck', "year": str(1990 + i)} for i in range(n)],
        words={"quadrant": [None if i < 10 else "Q1" if i < 30 else "Q2" for i in range(n)]},
        valence_mean=np.where(np.arange(n) < 5, np.nan, np.linspace(-1, 1, n)),
    )

    def found(**given):
        names = [name for name, _ in ask([shard], InQuadrant("Q1", 0), filters=Filters(**given), limit=200)]
        return {int(name.split("/ü")[1].removesuffix(".mp3")) for name in names}

    everything = set(range(n))
    assert found() == everything
    assert found(words={"quadrant": "Q1"}) == set(range(10, 30))
    assert found(words={"quadrant": "Q3"}) == set()
    assert found(least={"valence_mean": -1}) == everything - set(range(5))
    assert found(most={"valence_mean": 0}) == set(range(5, 20))
    assert found(least={"duration_s": 25}, most={"duration_s": 26}) == {10, 11, 12}
    assert found(tags={"genre": 'ro"ck'}) == set(range(0, n, 2))
    assert found(tags={"genre": "rock", "year": "1991"}) == {1}
    assert found(tags={"year": "199"}) == found(tags={"nothing": ""}) == set()
    assert found(q="CAFÉ 7") == {7, 17, 27, 37} | {i for i in range(n) if "7" in f"{i}{1990 + i}"}
    assert found(q="ü12 rock") == set()


def test_ties_do_not_hang_on_the_order_of_the_tracks():
    whole = entries_of({f"track {i}": np.tile([[0.5, 0.5]], (8, 1)) for i in range(50)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "CURVES", 6)
        one = ask([whole], InQuadrant("Q1", 0.5), limit=2)
        order = np.random.default_rng(0).permutation(50)
        other = ask([whole.take(order[:20]), whole.take(order[20:])], InQuadrant("Q1", 0.5), limit=2)
    assert one == other == [(name, -1) for name in sorted((f"track {i}" for i in range(50)), key=key_of)[:2]]


def test_sides_that_are_withheld_are_found_only_when_all_are_asked_for():
    shard = entries_of({"call": arch()})
    shard.arrays["withheld"][:] = True
    assert not Search([shard], Question(InQuadrant("Q1", 0))).quickly()
    assert len(Search([shard], Question(InQuadrant("Q1", 0)), all_sides=True).quickly()) == 1
    with pytest.raises(NotIndexedError):
        Search([shard], Question(Like("call")))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Arc(((0, 0, 0),)),
        lambda: Arc(tuple((i / 30, 0.0, 0.0) for i in range(21))),
        lambda: Arc(((0.5, 0, 0), (0.2, 0, 0))),
        lambda: Arc(((0, math.nan, 0), (1, 0, 0))),
        lambda: Rises("dominance"),
        lambda: Rises("arousal", 0.5, 0.55),
        lambda: Near(2, 0),
        lambda: Near(0, 0, seconds=0),
        lambda: MovedBy(math.inf),
        lambda: InQuadrant("Q5"),
        lambda: Filters(least={"bpm": 1}),
        lambda: Filters(words={"genre": "x"}),
        lambda: Filters(most={"valence_mean": math.nan}),
        lambda: Question(MovedBy(60), limit=201),
        lambda: Question(MovedBy(60), offset=990),
        lambda: Like("a", level="x"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_asked(wrong):
    with pytest.raises(UsageError):
        wrong()


def test_an_empty_index_finds_nothing():
    for what in WHATS:
        if not isinstance(what, Like):
            assert ask([], what) == ask([], what, exact=True) == []
