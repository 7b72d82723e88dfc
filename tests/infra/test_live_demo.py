"""The live demo, tried out: it begins, its rows land, and it ends."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_live_demo_ends_with_summaries_in_the_lake(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    command = ["bash", "infra/live_demo.sh", str(Path(sys.executable).parent), str(lake), "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told, found = done.stdout.split("What is in the lake now")
    assert "parcel.flac" in told
    names = {
        line.split()[0] for line in found.splitlines() if ".flac" in line or ".ogg" in line or ".mp3" in line
    }
    assert names == {"parcel.flac", "bright_morning.mp3", "closing_in.ogg", "empty_house.ogg"}
