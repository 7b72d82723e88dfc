"""A listener's ratings: what a profile may say, whose rows they move, and how far."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moodstream.models.base import Estimates, Notes
from moodstream.models.listeners import COMMON, Effect, Prior, effect_of
from moodstream.transforms.elements import Media, Part
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import UsageError
from moodstream.transforms.personal import Listener, Rating, personal, read_listener
from moodstream.transforms.session import Session, Settings

PRIOR = Prior(
    mean=np.array([[0.0, 1.0], [0.0, 1.0]]),
    covariance=np.tile(0.1 * np.eye(2), (2, 1, 1)),
    noise=np.full(2, 0.06),
    drift=np.full(2, 0.85),
    drift_s=np.full(2, 15.0),
)
SONG = Media("songs/song.mid", (Part("/music/songs/song.mid", "midi"),))


def estimates(n: int = 120) -> Estimates:
    mean = np.full((n, 3), np.nan, np.float32)
    mean[:, 0], mean[:, 1] = np.linspace(-0.3, 0.3, n), 0.1
    return Estimates(start=0, mean=mean, std=np.full((n, 3), 0.2, np.float32), scores=np.full((n, 4), 0.25))


def notes() -> Notes:
    n = 80
    start = np.arange(n) * 0.25
    return Notes(
        start_s=start,
        end_s=start + 0.2,
        pitch=np.array([60, 64, 67, 72] * 20, np.int16),
        velocity=np.full(n, 80, np.int16),
        program=np.zeros(n, np.int16),
        drum=np.zeros(n, bool),
        bars_s=np.arange(0, 20, 2.0),
        end_of_media_s=20.0,
    )


def write(folder: Path, content: object) -> str:
    file = folder / "profile.json"
    file.write_text(json.dumps(content))
    return str(file)


def test_ratings_pull_the_curve_towards_them_and_more_ratings_pull_harder() -> None:
    common = estimates()
    ratings = [Rating("song.mid", t, t + 4000, valence=0.8) for t in range(0, 60_000, 4000)]
    few, many = (personal(common, tuple(ratings[:k]), PRIOR) for k in (1, 15))
    near = [np.abs(said.mean[:, 0] - 0.8).mean() for said in (common, few, many)]
    assert near[0] > near[1] > near[2]
    np.testing.assert_array_equal(few.mean[:, 1], common.mean[:, 1])  # nothing said about arousal
    assert few.std[:, 0].mean() > many.std[:, 0].mean() > 0.9 * common.std[:, 0].mean()
    assert np.isnan(many.mean[:, 2]).all()
    np.testing.assert_array_equal(many.scores, common.scores)
    assert (np.abs(many.mean[:, :2]) <= 1).all()


def test_the_effect_is_that_of_least_squares_with_a_weak_prior_and_white_noise() -> None:
    weak = replace(PRIOR, covariance=np.tile(1e6 * np.eye(2), (2, 1, 1)), drift=np.zeros(2))
    common = np.random.default_rng(0).uniform(-0.5, 0.5, (30, 2))
    said = common * [0.5, 2.0] + [0.2, -0.1] + np.random.default_rng(1).normal(0, 0.05, (30, 2))
    effect = effect_of(weak, common, said, np.arange(30.0))
    for d in range(2):
        slope, offset = np.polyfit(common[:, d], said[:, d], 1)
        assert effect.mean[2 * d : 2 * d + 2] == pytest.approx((offset, slope), abs=1e-4)


def test_no_rating_is_the_prior_and_the_common_effect_changes_nothing() -> None:
    none = effect_of(PRIOR, np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    assert none.mean == pytest.approx(COMMON)
    common = estimates()
    mean, std = Effect().apply(common.mean, common.std)
    np.testing.assert_allclose(mean, common.mean)
    np.testing.assert_allclose(std[:, :2], common.std[:, :2], rtol=1e-6)


def test_ratings_beyond_the_end_are_not_heard() -> None:
    common = estimates()
    assert personal(common, (Rating("song.mid", 90_000, 95_000, 0.5, 0.5),), PRIOR) is common


def test_a_listener_knows_media_by_id_and_by_file() -> None:
    ratings = (
        Rating("song.mid", 4000, 5000, 0.5),
        Rating("songs/song.mid", 0, 1000, 0.1),
        Rating("b", 0, 9, 0.2),
    )
    listener = Listener(ratings)
    assert [r.start_ms for r in listener.of(SONG)] == [0, 4000]
    assert listener.mark(Media("other", (Part("/x/other.mid", "midi"),))) == ""
    assert listener.mark(SONG).startswith("+listener.")
    assert listener.mark(SONG) != Listener(ratings[:1]).mark(SONG)


def test_only_the_rows_of_rated_media_change_and_say_so() -> None:
    listener = Listener((Rating("song.mid", 0, 8000, -0.9, -0.9),))
    plain, settings = Settings(), Settings(listener=listener)
    other = Media("other", (Part("/x/other.mid", "midi"),))
    assert settings.key(other) == plain.key(other)
    assert settings.key(SONG) != plain.key(SONG)
    assert "listener" not in plain.key(SONG)
    engine = Engine()
    engine.listeners = PRIOR  # type: ignore[misc]  # the one here instead of what is installed

    def curve(media: Media, chosen: Settings) -> dict[str, list[object]]:
        session = Session(media, "a", engine, chosen, with_sound=False)
        session.add_notes(notes())
        return session.flush()["curve"][0].to_pydict()

    assert curve(other, settings) == curve(other, plain)
    before, after = curve(SONG, plain), curve(SONG, settings)
    assert all(a < b for a, b in zip(after["valence"], before["valence"], strict=True))
    assert after["model_version"][0] == before["model_version"][0] + listener.mark(SONG)


def test_a_profile_is_read(tmp_path: Path) -> None:
    rating = {"media": "song.mid", "start_ms": 0, "end_ms": 8000, "valence": 1, "arousal": -0.2}
    found = read_listener(write(tmp_path, {"name": "Ada", "ratings": [rating]}))
    assert found == Listener((Rating("song.mid", 0, 8000, 1.0, -0.2),), "Ada")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "no list `ratings`"),
        ({"ratings": []}, "no list `ratings`"),
        ({"ratings": [{"media": "a", "start_ms": 0, "end_ms": 5, "valence": 0}], "age": 30}, "has age"),
        ({"ratings": [{"media": "a", "start_ms": 0, "end_ms": 5}]}, "neither valence nor arousal"),
        ({"ratings": [{"media": "a", "start_ms": 5, "end_ms": 5, "valence": 0}]}, "no stretch of time"),
        ({"ratings": [{"media": "a", "start_ms": 0, "end_ms": 5, "valence": 3}]}, "valence is 3, allowed"),
        ({"ratings": [{"media": "a", "start_ms": 0, "end_ms": 5, "mood": 3}]}, "expected media"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_listener(write(tmp_path, content))


def test_a_missing_profile_and_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_listener(str(tmp_path / "none.yaml"))
    (tmp_path / "broken.yaml").write_text("ratings: [")
    with pytest.raises(UsageError, match="neither YAML nor JSON"):
        read_listener(str(tmp_path / "broken.yaml"))
