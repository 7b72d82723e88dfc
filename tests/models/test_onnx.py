import json
from pathlib import Path

import numpy as np
import pytest
import torch

from moodstream.models import registry
from moodstream.models.base import EMOTIONS, QUADRANTS
from moodstream.models.features import N_COLUMNS, frames_of
from moodstream.models.harmony import N_SUMS as N_HARMONY
from moodstream.models.music_network import MusicNetwork, MusicShape
from moodstream.models.network import MoodNetwork, Shape
from moodstream.models.note_network import NoteNetwork, NoteShape
from moodstream.models.note_statistics import N_STATISTICS as N_NOTES
from moodstream.models.onnx_export import about, audio, front_end, music, notes, write
from moodstream.models.pooling import N_STATISTICS, cell_sums
from moodstream.models.small import SmallNetwork, SmallShape

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def run(path: Path, **inputs: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options).run(None, inputs)


def sound(cells: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    time = np.arange(cells * 8000) / 16_000
    tone = np.sin(2 * np.pi * 180 * time + 3 * np.sin(5 * time)) * (np.sin(3 * time) > 0)
    return (0.1 * tone + 0.01 * draw.standard_normal(len(time))).astype(np.float32)


def a_network() -> MoodNetwork:
    torch.manual_seed(0)
    shape = Shape(EMOTIONS, channels=8, gates=2, dilations=(1, 3), hidden=8, landmarks=5, centre=0.7)
    network = MoodNetwork(shape).eval().requires_grad_(False)
    for value in (network.wide, network.deep, network.landmarks, network.pull):
        value.normal_(0, 0.2)
    network.encoder.center.normal_()
    network.encoder.scale.uniform_(0.5, 2)
    network.center.normal_()
    network.temperature.fill_(1.4)
    network.known[2] = 0
    return network


def a_small_network() -> SmallNetwork:
    torch.manual_seed(1)
    network = (
        SmallNetwork(SmallShape(EMOTIONS, hidden=8, channels=8, any_gain=True)).eval().requires_grad_(False)
    )
    network.center.copy_(torch.randn(N_STATISTICS))
    return network


def test_the_front_end_is_that_of_torch(tmp_path: Path) -> None:
    path = write(front_end(), {"name": "front-end"}, tmp_path / "front.onnx")
    for cells in (2, 7):
        (frames,) = run(path, samples=sound(cells))
        np.testing.assert_allclose(frames, frames_of(sound(cells)), atol=1e-4)


@pytest.mark.parametrize("make", [a_network, a_small_network])
def test_a_model_on_sound_is_that_of_torch(make: type, tmp_path: Path) -> None:
    network = make()
    card = registry.read_card("speech")
    path = write(audio(network), about(card), tmp_path / "model.onnx")
    for lengths in ([64], [320, 33, 1]):
        sounds = [sound(-(-n // 32), n)[: n * 250] for n in lengths]
        frames = np.zeros((len(lengths), -(-max(lengths) // 32) * 32, N_COLUMNS), np.float32)
        for row, one in zip(frames, sounds, strict=True):
            row[: -(-len(one) // 250)] = frames_of(one)
        found = run(path, frames=frames, lengths=np.array(lengths))
        fixed = torch.stack(
            [cell_sums(torch.from_numpy(row), n).sum(0) for row, n in zip(frames, lengths, strict=True)]
        )
        valid = torch.arange(frames.shape[1])[None] < torch.tensor(lengths)[:, None]
        encoder = network.encoder
        learned = fixed[:, :0] if encoder is None else encoder(torch.from_numpy(frames), valid).sum(1)
        (said,) = network.heads(learned, fixed)
        known = network.known.numpy()
        np.testing.assert_allclose(found[0], said.mean * known, atol=1e-4)
        np.testing.assert_allclose(found[1], said.log_std.exp().clamp(0.01, 2) * known, atol=1e-4)
        np.testing.assert_allclose(found[2], torch.softmax(said.logits, 1), atol=1e-4)
    metadata = ort.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["labels"]) == list(EMOTIONS)
    assert metadata["version"] == card.version
    assert "244" in metadata["frames"]


def test_the_model_on_notes_is_that_of_torch(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = NoteNetwork(NoteShape(projected=6, clips=20, bars=15)).eval()
    for value in network.buffers():
        value.copy_(torch.rand(value.shape) * 0.2 + 0.1)
    path = write(notes(network), {}, tmp_path / "notes.onnx")
    for cells in (2, 57):
        windows = {name: torch.randn(cells, N_NOTES) for name in ("long", "near", "far")}
        expected = network(*windows.values())
        found = run(path, **{name: value.numpy() for name, value in windows.items()})
        np.testing.assert_allclose(found[0], expected[0].clamp(-1, 1), atol=1e-4)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-4)
        np.testing.assert_allclose(found[2], expected[2], atol=1e-4)


@pytest.mark.parametrize("segments", [0, 6])
def test_the_model_on_music_is_that_of_torch(tmp_path: Path, segments: int) -> None:
    torch.manual_seed(3)
    shape = MusicShape(QUADRANTS, ("joy", "calm"), recorded=7, rendered=5, segments=segments)
    network = MusicNetwork(shape).eval()
    for name, value in network.named_buffers():
        if name not in ("known", "temperature", "std_scale"):
            value.copy_(torch.rand(value.shape) * 0.02)
    path = write(music(network), {}, tmp_path / "music.onnx")
    frames = frames_of(sound(6))[None]
    fixed = torch.cat((cell_sums(frames[0], 180).sum(0), torch.rand(N_HARMONY)))[None]
    found = run(path, frames=frames.numpy(), lengths=np.array([180]), harmony=fixed[:, -N_HARMONY:].numpy())
    (said,) = network.heads(fixed[:, :0], fixed)
    np.testing.assert_allclose(found[0], said.mean * network.known, atol=1e-4)
    np.testing.assert_allclose(found[2], torch.softmax(said.logits, 1), atol=1e-4)
    np.testing.assert_allclose(found[3], network.moods(fixed), atol=1e-4)
