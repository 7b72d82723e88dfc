"""The symbolic model: what it looks at, what it does not, and whether its card tells the truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from moodstream.models import harness, registry, symbolic
from moodstream.models.base import Notes
from moodstream.models.corpora import DataError
from moodstream.models.midi import parse_midi
from moodstream.models.note_features import CONTINUOUS, NO_PITCH, WIDTH, note_features
from moodstream.models.note_harmony import GROUPS, QUALITIES
from moodstream.models.note_network import NoteNetwork, NoteShape
from moodstream.models.note_statistics import (
    N_STATISTICS,
    N_SUMS,
    cell_sums,
    group_weights,
    note_sums,
    whole,
    window_sums,
)
from moodstream.models.symbolic import LOOKAHEAD_S, PAST_S, SymbolicModel, average
from moodstream.models.symbolic_data import Piece, cut, rated_edges, read_pieces, windows_of
from moodstream.models.symbolic_fitting import Recipe, fit
from moodstream.models.symbolic_training import measure
from moodstream.models.targets import targets
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


def piece_of(seed: int, group: str, minor: bool, fast: bool, *, rated: bool = True) -> Piece:
    """A piece of broken chords in a key, rated by bar or judged by quadrant: minor is sad, fast is lively."""
    draw = np.random.default_rng(seed)
    scale = np.array([0, 3, 7, 12, 8, 3] if minor else [0, 4, 7, 12, 9, 4]) + 52 + draw.integers(0, 12)
    n = 120 if fast else 40
    notes = notes_of(np.arange(n) * (0.15 if fast else 0.5), scale[draw.integers(0, 6, n)])
    notes = replace(notes, velocity=(draw.integers(-15, 15, n) + (90 if fast else 50)).astype(np.int16))
    quadrant = {(False, True): 0, (True, True): 1, (True, False): 2, (False, False): 3}[minor, fast]
    if not rated:
        return Piece(f"{seed}.mid", "clips", group, notes, quadrant)
    edges = np.append(notes.bars_s, notes.end_of_media_s)
    ratings = np.tile([-0.5 if minor else 0.5, 0.5 if fast else -0.5], (len(edges) - 1, 1))
    return Piece(
        f"{seed}.mid", "bars", group, notes, -1, edges, ratings + draw.normal(0, 0.05, ratings.shape)
    )


def some_pieces(rated: str = "both", seed: int = 0) -> list[Piece]:
    kinds = {"both": (True, False), "bars": (True,), "clips": (False,)}[rated]
    return [
        piece_of(seed + 10 * i + k, f"g{i % 3}", bool(i & 1), bool(i & 2), rated=kind)
        for i in range(12)
        for k, kind in enumerate(kinds)
    ]


def fitted(pieces: list[Piece], **changes: float) -> NoteNetwork:
    recipe = replace(Recipe(), projected=24, **changes)
    return fit(pieces, windows_of(pieces), np.arange(len(pieces)), recipe)


@pytest.fixture(scope="module")
def model() -> SymbolicModel:
    """A network of random sizes and weights, whose outputs depend on everything it is allowed to see."""
    torch.manual_seed(0)
    network = NoteNetwork(NoteShape(projected=20, clips=15, bars=12))
    sizes = {name: value.shape for name, value in network.state_dict().items()}
    state = {name: torch.randn(size) * 0.3 for name, size in sizes.items()}
    for name in ("scale", "temperature", "std_scale", "judged_scale"):
        state[name] = torch.ones(sizes[name])
    for name in ("quadrants.narrowness", "levels.narrowness"):
        state[name] = torch.full((1,), 0.01)
    state["movement"] *= 0.05
    network.load_state_dict(state)
    return SymbolicModel(network)


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
    safe = int((changed_s - LOOKAHEAD_S - 1) / 0.5)
    np.testing.assert_allclose(later.mean[:safe, :2], before.mean[:safe, :2], atol=1e-5)
    assert np.abs(later.mean - before.mean)[safe + 4 : safe + 60, :2].max() > 1e-3
    other = notes.pitch.copy()
    other[notes.start_s < 60] += 5
    changed = model.estimate(replace(notes, pitch=other))
    forgotten = int((60 + PAST_S + 1) / 0.5)
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
    harmony = slice(0, sum(GROUPS[name] for name in ("mode", "quality", "change")))
    np.testing.assert_allclose(up.more[:, harmony], here.more[:, harmony], atol=1e-5)


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
    features = note_features(melody(50))
    sums = note_sums(torch.from_numpy(features.dense())).numpy()
    assert sums.shape == (50, N_SUMS)
    np.testing.assert_allclose(sums[:, -46:].sum(1), 4, atol=1e-4)  # four histograms
    np.testing.assert_allclose(whole(sums[:20], 5.0), whole(2 * sums[:20], 10.0), atol=1e-5)
    np.testing.assert_allclose(cell_sums(features.dense(), features.cell, 40).sum(0), sums.sum(0), rtol=1e-4)


def test_windows_are_sums_of_the_cells_they_name() -> None:
    sums = np.arange(20, dtype=np.float32)[:, None]
    for past, future in ((3, 2), (4, -2), (100, 100)):
        found, seconds = window_sums(sums, past, future, np.arange(20))
        for i in range(20):
            inside = [j for j in range(20) if i - past <= j <= i + future]
            if len(inside) >= 2:
                assert (found[i, 0], seconds[i]) == (sum(inside), len(inside) / 2)
            assert seconds[i] >= 1.0


def test_every_statistic_has_a_weight() -> None:
    weights = group_weights()
    assert weights.shape == (N_STATISTICS,)
    assert (weights > 0).all()


def test_chords_and_rhythm_are_recognised() -> None:
    columns = np.cumsum([0, *GROUPS.values()])
    place = {name: slice(a, b) for name, a, b in zip(GROUPS, columns, columns[1:], strict=False)}
    for quality, intervals in (("major", (0, 4, 7)), ("minor", (0, 3, 7)), ("augmented", (0, 4, 8))):
        triads = [60 + root + i for root in (0, 0, 0, 0) for i in intervals]
        more = note_features(notes_of(np.repeat(np.arange(4) * 0.5, 3), np.array(triads), 0.5)).more
        best = more[:, place["quality"]][:, len(QUALITIES) : 2 * len(QUALITIES)].mean(0)
        assert list(QUALITIES)[int(best.argmax())] == quality
        assert more[:, place["change"]][:, 0].sum() == 0  # the chord stays
    even = note_features(notes_of(np.arange(40) * 0.25, np.full(40, 60))).more[1:-1]
    ratio = even[:, place["ratio"]].mean(0)
    assert ratio.argmax() == 6  # the next note comes after as long as the last one did
    assert ratio.max() == pytest.approx(1, abs=1e-6)


# ---------------------------------------------------------------- fitting


def test_a_fit_learns_mode_and_speed() -> None:
    network = SymbolicModel(fitted(some_pieces(), bar_ridge=0.1))
    for minor in (False, True):
        for fast in (False, True):
            piece = piece_of(99, "new", minor, fast)
            said = network.estimate(piece.notes)
            assert np.sign(said.mean[:, 0].mean()) == (-1 if minor else 1)
            assert np.sign(said.mean[:, 1].mean()) == (1 if fast else -1)
            quadrant = piece_of(99, "new", minor, fast, rated=False).quadrant
            assert network.piece(piece.notes).scores[0].argmax() == quadrant


@pytest.mark.parametrize("kind", ["bars", "clips"])
def test_one_kind_of_label_is_enough(kind: str) -> None:
    network = SymbolicModel(fitted(some_pieces(kind), bar_ridge=0.1))
    for minor in (False, True):
        piece = piece_of(99, "new", minor, True, rated=False)
        said = network.piece(piece.notes)
        assert said.scores[0].argmax() == piece.quadrant
        assert np.sign(said.mean[0, 0]) == (-1 if minor else 1)


def test_a_missing_dimension_costs_nothing() -> None:
    pieces = some_pieces("bars")
    blind = [replace(p, ratings=p.ratings * [1, np.nan]) if i % 2 else p for i, p in enumerate(pieces)]
    said = fitted(blind)(*[torch.from_numpy(windows_of(pieces[:1])[0].whole)] * 3)
    assert all(torch.isfinite(part).all() for part in said)


def test_the_same_pieces_give_the_same_weights_and_sizes_are_read_back() -> None:
    first, second = (fitted(some_pieces()).state_dict() for _ in range(2))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-6, rtol=1e-6)
    empty = NoteNetwork(NoteShape())
    empty.load_state_dict(first)
    assert empty.shape == NoteShape(projected=24, clips=12, bars=len(first["levels.examples"]))


def test_movement_is_nothing_where_windows_are_alike() -> None:
    network = fitted(some_pieces())
    whole = torch.from_numpy(windows_of(some_pieces()[:1])[0].whole)
    still = network(whole, whole, whole)[0]
    with torch.no_grad():
        network.movement.mul_(100)
    torch.testing.assert_close(network(whole, whole, whole)[0], still)


# ---------------------------------------------------------------- any MIDI


def test_drums_many_tracks_and_tempo_changes_break_nothing() -> None:
    model, piano = SymbolicModel.load(), melody(400, seed=3)
    n = len(piano)
    drums = replace(piano, drum=np.arange(n) % 2 == 0, program=(np.arange(n) % 128).astype(np.int16))
    start = piano.start_s * np.linspace(1, 3, n)  # slower and slower
    slower = replace(piano, start_s=start, end_s=start + 0.4, end_of_media_s=float(start[-1]) + 1)
    dense = notes_of(np.repeat(np.arange(60) * 0.2, 12), np.tile(np.arange(36, 84, 4), 60))
    nothing_but_drums = replace(piano, drum=np.ones(n, bool))
    for notes in (drums, slower, dense, nothing_but_drums):
        said = model.estimate(notes)
        assert np.isfinite(said.mean[:, :2]).all()
        assert (np.abs(said.mean[:, :2]) <= 1).all()
        np.testing.assert_allclose(said.scores.sum(1), 1, atol=1e-5)
        assert (said.std[:, :2] > 0).all()
    apart = np.abs(model.estimate(drums).mean - model.estimate(piano).mean)[:, :2]
    assert apart.max() > 1e-3  # drums are heard


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


def test_ratings_are_laid_on_bars_or_spread_evenly() -> None:
    notes = replace(melody(40), bars_s=np.array([0.0, 2.0, 4.0]), end_of_media_s=6.0)
    assert rated_edges(notes, 3).tolist() == [0, 2, 4, 6]
    assert rated_edges(notes, 2).tolist() == [0, 2, 4]
    assert rated_edges(notes, 6).tolist() == [0, 1, 2, 3, 4, 5, 6]


# ---------------------------------------------------------------- the installed model


def test_the_card_says_what_the_predictions_say() -> None:
    card = registry.read_card("symbolic")
    table = pl.read_parquet(STORED)
    for name, interval in harness.measure(measure, table).items():
        assert card.metrics[name] == pytest.approx([interval.value, interval.low, interval.high], abs=2e-4), (
            name
        )
    assert len(card.seeds) == 3
    for name, target in targets("symbolic").items():
        assert target.expected is None or target.reached(card.metrics[name][0], target.expected), name
    for name in ("valence", "arousal"):
        assert card.calibration["coverage"][name] == pytest.approx(0.9, abs=0.02)
    folds = table.group_by("seed", "corpus", "group").agg(pl.col("fold").n_unique())
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


def test_a_folder_of_ones_own(corpora: Path, tmp_path: Path) -> None:
    files = sorted((corpora / "music" / "emopia" / "midi").glob("Q*.mid"))[::90]
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    lines = ["file,start_ms,end_ms,group,valence,arousal,quadrant"]
    for i, file in enumerate(files):
        quadrant, half = file.name[:2], 8000 + 500 * i
        signs = {"Q1": "0.5,0.5", "Q2": "-0.5,0.5", "Q3": "-0.5,-0.5", "Q4": "0.5,"}[quadrant]
        lines += [f"{file.name},0,{half},g{i % 4},{signs},", f"{file.name},{half},,g{i % 4},,,{quadrant}"]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    pieces = read_pieces(tmp_path)
    assert len(pieces) == 2 * len(files)
    assert pieces[0].notes.end_of_media_s == pytest.approx(8.0)
    assert {piece.quadrant for piece in pieces} == {-1, 0, 1, 2, 3}
    card = train("symbolic", tmp_path, tmp_path / "models", folds=2)
    assert set(card.corpora) == {"mine"}
    assert {"mine 4Q accuracy", "mine CCC valence", "mine CCC arousal"} <= set(card.metrics)
    assert len(SymbolicModel.load(folder=tmp_path / "models").estimate(melody(20))) == 11


def test_cutting_keeps_what_begins_inside() -> None:
    notes = notes_of(np.arange(10) * 1.0, np.full(10, 60))
    part = cut(notes, 2000, 5000)
    assert part.start_s.tolist() == [0, 1, 2]
    assert part.end_of_media_s == 3.0
    assert part.bars_s.tolist() == [0, 2]
    with pytest.raises(DataError, match="no note begins between 60000 and 70000"):
        cut(notes, 60_000, 70_000)
