"""Models as ONNX files, for runtimes without torch: `export_model("speech", "speech.onnx")`.

What goes in and what comes out, with units, labels, version and licence, is written into the metadata of the
file. The front end is a file of its own (FRONT_END), samples to frames: all models on sound share it. In no
file: decoding, resampling to 16 kHz, windows of a curve (cut the frames: 32 are a half second), the decision
whether there is speech at all (the activity model's probabilities and `base.decide`), and for the symbolic
model the reading of MIDI and `note_statistics`, for the music model `harmony`. Needs the extra `onnx`.
"""

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from moodstream.models import registry
from moodstream.models.audio import load_network
from moodstream.models.base import CELL_FRAMES, HOP, RATE_HZ, STEP_MS
from moodstream.models.experts import ExpertNetwork
from moodstream.models.features import N_COLUMNS
from moodstream.models.harmony import N_SUMS as N_HARMONY
from moodstream.models.music_network import MusicNetwork
from moodstream.models.network import MoodNetwork
from moodstream.models.note_network import FAR, LONG, NEAR, NoteNetwork
from moodstream.models.note_statistics import N_STATISTICS
from moodstream.models.onnx_graphs import AudioGraph, FrontEndGraph, MusicGraph, NotesGraph
from moodstream.models.registry import Card
from moodstream.models.small import SmallNetwork
from moodstream.models.symbolic import SymbolicModel

FRONT_END = "front-end"
OPSET = 20
_MANY = 1 << 20
_AUDIO = {
    "frames": f"float32 [sounds, frames, {N_COLUMNS}]: of the front end, as many as a multiple of 32",
    "lengths": "int64 [sounds]: how many frames of each are true, the rest is padding",
}


@dataclass(frozen=True)
class Graph:
    """What is exported: a module, inputs for it by name, which of their sizes vary, what is said of them."""

    module: nn.Module
    inputs: dict[str, Tensor]
    sizes: dict[str, dict[int, Any]]
    outputs: tuple[str, ...]
    says: dict[str, str]  # of each input and output


def export_model(name: str, path: str | os.PathLike[str], folder: Path = registry.FOLDER) -> Path:
    """Write an installed model, or FRONT_END, as an ONNX file; gives its path.

    Raises:
        FileNotFoundError: no such model. ImportError: the extra `onnx` is not installed.
    """
    if name == FRONT_END:
        return write(front_end(), {"name": FRONT_END}, path)
    card = registry.read_card(name, folder)
    if card.task == "symbolic":
        graph = notes(SymbolicModel.load(name, folder).network)
    else:
        network = load_network(name, folder)
        graph = music(network) if isinstance(network, MusicNetwork) else audio(network)
    return write(graph, about(card), path)


def front_end() -> Graph:
    """Samples to frames."""
    cells = Dim("cells", min=2, max=_MANY)
    return Graph(
        FrontEndGraph(),
        {"samples": torch.zeros(3 * CELL_FRAMES * HOP)},
        {"samples": {0: CELL_FRAMES * HOP * cells}},
        ("frames",),
        {
            "samples": f"float32 [n] in -1..1: mono at {RATE_HZ} Hz, n a multiple of 8,000 (add zeros)",
            "frames": f"float32 [n / {HOP}, {N_COLUMNS}]: 64 a second, 32 a half second",
        },
    )


def audio(network: MoodNetwork | ExpertNetwork | SmallNetwork | MusicNetwork) -> Graph:
    """Frames to what a network on sound says."""
    sounds, cells = Dim("sounds", min=1, max=_MANY), Dim("cells", min=1, max=_MANY)
    return Graph(
        AudioGraph(network),
        {"frames": torch.zeros(2, 3 * CELL_FRAMES, N_COLUMNS), "lengths": torch.tensor([96, 70])},
        {"frames": {0: sounds, 1: CELL_FRAMES * cells}, "lengths": {0: sounds}},
        ("estimates", "deviations", "probabilities"),
        _AUDIO | _spoken(3),
    )


def music(network: MusicNetwork) -> Graph:
    """Frames and harmony to what the network on music says."""
    heard = audio(network)
    return Graph(
        MusicGraph(network),
        {**heard.inputs, "harmony": torch.zeros(2, N_HARMONY)},
        {**heard.sizes, "harmony": {0: heard.sizes["frames"][0]}},
        (*heard.outputs, "moods"),
        {
            **heard.says,
            "harmony": f"float32 [sounds, {N_HARMONY}]: sums of harmony.harmony_of over the half seconds",
            "moods": f"float32 [sounds, moods]: shares of listeners, {', '.join(network.shape.moods)}",
        },
    )


def notes(network: NoteNetwork) -> Graph:
    """Statistics of notes to what the network on notes says."""
    cells = Dim("cells", min=2, max=_MANY)
    names = {"long": LONG, "near": NEAR, "far": FAR}
    about = "note_statistics of the notes {} half seconds before to {} after each half second"
    return Graph(
        NotesGraph(network),
        {name: torch.zeros(5, N_STATISTICS) for name in names},
        {name: {0: cells} for name in names},
        ("estimates", "deviations", "probabilities"),
        {name: f"float32 [n, {N_STATISTICS}]: {about.format(*span)}" for name, span in names.items()}
        | _spoken(2),
    )


def _spoken(dimensions: int) -> dict[str, str]:
    names = ", ".join(("valence", "arousal", "dominance")[:dimensions])
    return {
        "estimates": f"float32 [n, {dimensions}]: {names} in -1..1; 0 for what the model does not know",
        "deviations": f"float32 [n, {dimensions}]: their standard deviations, calibrated",
        "probabilities": "float32 [n, labels]: calibrated, in the order of `labels`",
    }


def about(card: Card) -> dict[str, str]:
    """What a card says, as the metadata of a file."""
    return {
        "name": card.name,
        "version": card.version,
        "task": card.task,
        "labels": json.dumps(card.labels),
        "dimensions": json.dumps(card.dimensions),
        "licence": card.licence,
        "corpora": json.dumps(card.corpora),
        "limits": json.dumps(card.limits),
        "rate_hz": str(RATE_HZ),
        "step_ms": str(STEP_MS),
    }


def write(graph: Graph, metadata: dict[str, str], path: str | os.PathLike[str]) -> Path:
    """Trace a graph and write it with its metadata; gives the path.

    Raises:
        ImportError: the extra `onnx` is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("exporting needs onnx: pip install 'moodstream[onnx]'") from error
    target = Path(path)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            dynamo=True,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=graph.sizes,
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch gave no ONNX program")
    program.model.metadata_props.update(metadata | graph.says)
    target.parent.mkdir(parents=True, exist_ok=True)
    program.save(target, external_data=False)
    return target


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about itself and about packages it could use."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
