"""The symbolic model: what it looks at, what it does not, and whether its card tells the truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from moodstream.models import registry, symbolic
from moodstream.models.base import Notes
from moodstream.models.midi import parse_midi
from moodstream.models.note_features import CONTINUOUS, NO_PITCH, WIDTH, note_features
from moodstream.models.note_network import (
    NOTES_AHEAD,
    NOTES_BACK,
    NoteEnsemble,
    NoteShape,
    fixed_statistics,
    fixed_sums,
)
from moodstream.models.symbolic import LOOKAHEAD_S, PAST_S, SymbolicModel, average, slice_notes
from moodstream.models.symbolic_data import rated_edges, vary
from moodstream.models.symbolic_training import measure
from moodstream.models.training import train

torch.set_num_threads(1)  # a second thread costs more than it brings for networks of this size

STORED = registry.FOLDER / "symbolic" / "predictions.parquet"


def notes_of(
    start_s: np.ndarray,
    pitch: np.ndarray,
    length_s: float = 0.4,
    end_s: float | None = None,
) -> Notes:
    n = len(start_s)
    return Notes(
        start_s=np.asarray(start_s, np.float64),
        end_s=np.asarray(start_s, np.float64) + length_s,
        pitch=np.asarray(pitch, np.int16),
        velocity=np.full(n, 80, np.int16),
        program=np.zeros(n, np.int16),
        drum=np.zeros(n, bool),
        bars_s=np.arange(0, start_s[-1] + length_s, 2.0),
        end_of_media_s=end_s or float(start_s[-1]) + length_s,
    )


def melody(n: int = 600, seed: int = 0, step_s: float = 0.25) -> Notes:
    draw = np.random.default_rng(seed)
    notes = notes_of(np.arange(n) * step_s + draw.uniform(0, 0.1, n), draw.integers(36, 84, n))
    return replace(notes, velocity=draw.integers(20, 120, n).astype(np.int16))


@pytest.fixture(scope="module")
def model() -> SymbolicModel:
    """An untrained network whose outputs depend on everything it is allowed to see."""
    torch.manual_seed(0)
    return SymbolicModel(NoteEnsemble(NoteShape(members=2)))


def test_one_estimate_a_cell(model: SymbolicModel) -> None:
    notes = replace(melody(40), end_of_media_s=20.2)
    estimates = model.estimate(notes)
    assert (estimates.start, len(estimates)) == (0, 41)
    assert estimates.scores.shape == (41, 4)
    np.testing.assert_allclose(estimates.scores.sum(1), 1, atol=1e-5)
    assert np.isfinite(estimates.mean[:, :2]).all()
    assert np.isnan(estimates.mean[:, 2]).all()
    assert np.isnan(estimates.std[:, 2]).all()
    assert (estimates.std[:, :2] > 0).all()
    assert (np.abs(estimates.mean[:, :2]) <= 1).all()


def test_one_note_is_enough(model: SymbolicModel) -> None:
    notes = notes_of(np.array([1.0]), np.array([60]))
    assert len(model.estimate(notes)) == 3
    assert np.isfinite(model.piece(notes).mean[:, :2]).all()


def test_notes_before_zero_are_heard_in_the_first_cell(model: SymbolicModel) -> None:
    notes = melody(40)
    early = replace(notes, start_s=notes.start_s - 3, end_s=notes.end_s - 3)
    assert np.isfinite(model.estimate(early).mean[:, :2]).all()


def test_nothing_beyond_the_declared_context_matters(model: SymbolicModel) -> None:
    notes = melody(1200)
    changed_s = 150.0
    other = notes.pitch.copy()
    other[notes.start_s >= changed_s] += 5
    later = model.estimate(replace(notes, pitch=other))
    before = model.estimate(notes)
    safe = int((changed_s - LOOKAHEAD_S - NOTES_AHEAD * 0.25 - 1) / 0.5)
    np.testing.assert_allclose(later.mean[:safe, :2], before.mean[:safe, :2], atol=1e-5)
    assert np.abs(later.mean - before.mean)[safe + 4 : safe + 60, :2].max() > 1e-3
    other = notes.pitch.copy()
    other[notes.start_s < 60] += 5
    changed = model.estimate(replace(notes, pitch=other))
    forgotten = int((60 + PAST_S + NOTES_BACK * 0.35 + 1) / 0.5)
    np.testing.assert_allclose(changed.mean[forgotten:, :2], before.mean[forgotten:, :2], atol=1e-5)


def test_blocks_make_no_difference(model: SymbolicModel, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = melody(900)
    whole = model.estimate(notes)
    monkeypatch.setattr(symbolic, "_NOTES", 300)
    monkeypatch.setattr(symbolic, "_CELLS", 37)
    blocks = model.estimate(notes)
    np.testing.assert_allclose(blocks.mean, whole.mean, atol=1e-5)
    np.testing.assert_allclose(blocks.scores, whole.scores, atol=1e-5)


def test_the_pitch_of_a_drum_does_not_matter(model: SymbolicModel) -> None:
    notes = replace(melody(200), drum=np.arange(200) % 3 == 0)
    other = np.where(notes.drum, 35, notes.pitch).astype(np.int16)
    np.testing.assert_allclose(
        model.estimate(replace(notes, pitch=other)).mean, model.estimate(notes).mean, atol=1e-5
    )
    features = note_features(notes)
    assert (features.classes[notes.drum] == NO_PITCH).all()


def test_transposition_moves_no_pitch_class() -> None:
    notes = melody(300)
    up = note_features(replace(notes, pitch=notes.pitch + np.int16(3)))
    here = note_features(notes)
    np.testing.assert_array_equal(up.classes, here.classes)
    np.testing.assert_allclose(up.chroma, here.chroma, atol=1e-5)


def test_scales_have_their_tonic_and_mode() -> None:
    major = 60 + np.array([0, 4, 7, 12, 11, 9, 7, 5, 4, 2, 0, 4, 7, 0])
    minor = 57 + np.array([0, 3, 7, 12, 11, 8, 7, 5, 3, 2, 0, 3, 7, 0])
    for pitches, sign in ((major, 1), (minor, -1)):
        features = note_features(notes_of(np.arange(len(pitches)) * 0.5, pitches))
        assert features.classes[-1, 0] == 0  # the last note is the tonic
        assert np.sign(features.continuous[-1, CONTINUOUS.index("major minus minor")]) == sign


def test_bass_and_chord_of_a_triad() -> None:
    features = note_features(notes_of(np.array([0.0, 0.0, 0.01]), np.array([48, 52, 67]), length_s=2.0))
    assert features.classes[:, 2].tolist() == [0, 4, 7]
    assert np.flatnonzero(features.chroma[2, 12:]).tolist() == [0, 4, 7]
    assert features.dense().shape == (3, WIDTH)


def test_histograms_share_each_note_out_once() -> None:
    x = torch.from_numpy(note_features(melody(50)).dense())
    sums = fixed_sums(x)
    np.testing.assert_allclose(sums[:, -46:].sum(1), 4, atol=1e-4)  # four histograms
    one = fixed_statistics(sums[:20].sum(0, keepdim=True), torch.tensor([5.0]))
    twice = fixed_statistics(2 * sums[:20].sum(0, keepdim=True), torch.tensor([10.0]))
    np.testing.assert_allclose(one, twice, atol=1e-5)


def test_sounding_ends_after_the_last_note(model: SymbolicModel) -> None:
    notes = notes_of(np.array([5.0, 5.5, 20.0]), np.array([60, 62, 64]), end_s=30.0)
    heard = np.flatnonzero(model.sounding(notes)) / 2
    assert heard.min() == 5.0
    assert not ((heard > 7.9) & (heard < 20.0)).any()
    assert heard.max() == 22.0
    hanging = notes_of(np.array([0.0]), np.array([60]), length_s=3600.0)
    assert model.sounding(hanging).sum() == 64


def test_bars_are_means_of_the_curve(model: SymbolicModel) -> None:
    curve = np.arange(8, dtype=np.float32)[:, None]
    assert average(curve, np.array([0.0, 1.0, 1.75]))[:, 0] == pytest.approx([0.5, 7 / 3])
    assert average(curve, np.array([0.0, 4.0]))[0, 0] == pytest.approx(3.5)
    notes = melody(100)
    assert model.bars(notes).shape == (len(notes.bars_s), 3)


def test_variants_keep_order_and_range() -> None:
    notes = melody(300)
    other, speed = vary(notes, np.random.default_rng(1))
    assert (np.diff(other.start_s) >= 0).all()
    assert other.end_of_media_s == pytest.approx(notes.end_of_media_s / speed)
    assert 0 <= other.pitch.min() <= other.pitch.max() <= 127
    assert 1 <= other.velocity.min() <= other.velocity.max() <= 127
    assert len(slice_notes(other, 5, 9)) == 4


def test_ratings_are_laid_on_bars_or_spread_evenly() -> None:
    notes = replace(melody(40), bars_s=np.array([0.0, 2.0, 4.0]), end_of_media_s=6.0)
    assert rated_edges(notes, 3).tolist() == [0, 2, 4, 6]
    assert rated_edges(notes, 2).tolist() == [0, 2, 4]
    assert rated_edges(notes, 6).tolist() == [0, 1, 2, 3, 4, 5, 6]


# ---------------------------------------------------------------- the installed model


def test_the_card_says_what_the_predictions_say() -> None:
    card = registry.read_card("symbolic")
    table = pl.read_parquet(STORED)
    for name, interval in measure(table).items():
        assert card.metrics[name] == pytest.approx([interval.value, interval.low, interval.high], abs=2e-4), (
            name
        )
    assert card.metrics["emopia 4Q accuracy"][0] >= 0.68
    for name in ("valence", "arousal"):
        assert card.calibration["coverage"][name] == pytest.approx(0.9, abs=0.02)
    folds = table.group_by("corpus", "group").agg(pl.col("fold").n_unique())
    assert folds["fold"].max() == 1, "a song or series lies in two folds"
    assert (card.lookahead_s, card.past_s) == (LOOKAHEAD_S, PAST_S)


def test_the_installed_model_tells_quadrants_apart(corpora: Path) -> None:
    model = SymbolicModel.load()
    files = sorted((corpora / "music" / "emopia" / "midi").glob("Q*.mid"))[::18]
    said = [model.piece(parse_midi(file.read_bytes())) for file in files]
    truth = [int(file.name[1]) - 1 for file in files]
    assert np.mean([s.scores[0].argmax() == t for s, t in zip(said, truth, strict=True)]) > 0.6
    lively = np.isin(truth, (0, 1))
    arousal = np.array([s.mean[0, 1] for s in said])
    assert arousal[lively].mean() > arousal[~lively].mean() + 0.1


def test_training_runs_from_end_to_end(corpora: Path, tmp_path: Path) -> None:
    card = train("symbolic", corpora, tmp_path, smoke=True)
    assert registry.read_card("symbolic", tmp_path) == card
    assert len(SymbolicModel.load(folder=tmp_path).estimate(melody(20))) == 11
    assert (tmp_path / "symbolic" / "predictions.parquet").is_file()
