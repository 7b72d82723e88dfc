"""Networks that were fitted are kept, so that a training that was interrupted goes on where it was.

A kept network is a file named by the hash of all that decides it: examples and labels, which of them it
learned from, recipe and shape, seed, features, device and the code. So nothing stale is ever found, and
whoever asks for the same fit (another seed's run, the cross-corpus measure, the diarization tests) shares it.
They lie in the cache, `networks/`; deleting them costs time only.
"""

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from moodstream.models.device import device
from moodstream.models.examples import FEATURES_VERSION, Progress, cache_folder, silent
from moodstream.models.fingerprint import digest, study_hashes
from moodstream.models.study import Rows, Study


class Checkpoints:
    """Fits of one study, from the cache where they are there."""

    def __init__(
        self,
        study: Study,
        folder: str | os.PathLike[str] | None = None,
        fresh: bool = False,
        keep: bool = True,
    ) -> None:
        """Where to look.

        Args:
            folder: see `examples.cache_folder`.
            fresh: fit anew what is there, too.
            keep: write down what is fitted.
        """
        self.study, self.folder, self.fresh, self.keep = study, folder, fresh, keep
        self._content = [FEATURES_VERSION, device().type, study_hashes(study)]

    def path(self, rows: Rows, seed: int) -> Path:
        """Where the network that learned from `rows` with `seed` is kept."""
        name = digest([self._content, rows.tolist(), seed])
        return cache_folder(self.folder) / "networks" / f"{self.study.card.task}-{name}.safetensors"

    def fitted(self, rows: Rows, seed: int = 0, progress: Progress = silent) -> nn.Module:
        """The network that learned from the examples `rows`: read, or fitted now and kept."""
        path = self.path(rows, seed)
        if not self.fresh and path.exists():
            network = self.study.new()
            try:
                network.load_state_dict(load_file(path))
                return network.eval()
            except (SafetensorError, RuntimeError):  # cut short, or of a shape that a hash missed
                path.unlink()
        network = self.study.fit(rows, seed, progress).eval()
        if not self.keep:
            return network
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, unfinished)
        unfinished.rename(path)
        return network
