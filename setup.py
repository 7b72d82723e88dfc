"""The one thing that pyproject.toml cannot say: wheels without weights.

`MOODSTREAM_WITHOUT_WEIGHTS=1 python -m build --wheel` leaves models/weights/ out. The code is Apache-2.0, the
weights are not (docs/licences.md).
"""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

WITHOUT = os.environ.get("MOODSTREAM_WITHOUT_WEIGHTS", "") not in ("", "0")


class BuildPy(build_py):
    """Copies what belongs into the package."""

    def run(self) -> None:
        """Build; then take out the weights, those that an earlier build left in the folder too."""
        super().run()
        if WITHOUT and not self.editable_mode:
            shutil.rmtree(Path(self.build_lib, "moodstream", "models", "weights"), ignore_errors=True)


setup(cmdclass={"build_py": BuildPy})
