"""Speed and memory of moodstream on real material: `make bench`, or python infra/bench.py --help.

Conventions: ratios are taken within one run, side by side, as medians of several rounds; every measurement
runs in a child process of its own, pinned to one core with one thread (two cores where two workers are
measured). "Without start-up" means: in a process that has analysed something before, less the time of the
same command on a one-second file, so that imports, loading of weights and the opening of the lake do not
count. Prints a table, and writes everything to `--json FILE`.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))
from infra.bench_material import data  # noqa: E402
from infra.bench_table import table  # noqa: E402

MOODSTREAM = Path(sys.executable).with_name("moodstream")
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS"),
    "1",
)


@dataclass(frozen=True)
class Size:
    """How much material each measurement takes."""

    rounds: int
    long_s: int  # the mp3 and the MIDI file
    clips: int
    worker_files: int
    worker_file_s: int
    short_memory_s: int
    long_memory_s: int


FULL = Size(3, 1800, 2000, 8, 900, 3600, 36_000)
QUICK = Size(1, 300, 200, 4, 120, 300, 1200)


class Spent(NamedTuple):
    """What something took: by the clock, and on the processor, which another load does not stretch."""

    wall_s: float
    cpu_s: float

    def less(self, other: "Spent") -> "Spent":
        return Spent(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


def spent(work: Callable[[], object]) -> Spent:
    """Do some work, all in this process, and tell what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def median(rounds: Iterable[Spent]) -> Spent:
    """The median of each of the two."""
    return Spent(*map(statistics.median, zip(*rounds, strict=True)))


def analyze(paths: list[Path]) -> Spent:
    """One catalogue run into a fresh lake."""
    from moodstream.pipelines.catalogue import run
    from moodstream.pipelines.config import Config

    with scratch() as folder:
        return spent(lambda: run(Config(paths=tuple(map(str, paths)), out=str(folder / "lake"))))


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def reference_decode(path: Path) -> None:
    """Decode to 16 kHz mono the way everyone writes it: PyAV, resampled frame by frame."""
    import av

    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
        for frame in container.decode(audio=0):
            for resampled in resampler.resample(frame):
                resampled.to_ndarray()


def timed(command: list[str], **options: Any) -> tuple[float, float]:
    """Wall seconds and peak memory (MiB) of a command.

    Raises:
        RuntimeError: the command failed; the message holds the end of its output.
    """
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)}:\n{output.read().decode(errors='replace')[-2000:]}")
    return seconds, usage.ru_maxrss / 1024


def heard(lake: Path) -> dict[str, Any]:
    """What part of the material reached which encoder, what it was, and how much of it has an estimate."""
    sql = "SELECT duration_ms, encoder_ms FROM media"
    media = json.loads(
        subprocess.check_output([str(MOODSTREAM), "query", str(lake), sql, "--format", "json"])
    )
    total = sum(row["duration_ms"] for row in media)
    encoders: dict[str, float] = {}
    for row in media:
        pairs = row["encoder_ms"]
        for name, ms in pairs.items() if isinstance(pairs, dict) else pairs:
            encoders[name] = encoders.get(name, 0) + ms / total
    sql = """SELECT activity, count(*) AS cells, count(valence) AS estimated FROM curve
        WHERE modality IN ('fused', 'symbolic') GROUP BY activity"""
    cells = json.loads(
        subprocess.check_output([str(MOODSTREAM), "query", str(lake), sql, "--format", "json"])
    )
    n = sum(row["cells"] for row in cells)
    return {
        "seconds": total / 1000,
        "encoder_share": {name: round(share, 3) for name, share in sorted(encoders.items())},
        "activity_share": {row["activity"]: round(row["cells"] / n, 3) for row in cells},
        "estimated_share": round(sum(row["estimated"] for row in cells) / n, 3),
    }


def kept(paths: list[Path]) -> dict[str, Any]:
    """Analyse once more into a lake that is then read: what reached the encoders."""
    from moodstream.pipelines.catalogue import run
    from moodstream.pipelines.config import Config

    with scratch() as folder:
        run(Config(paths=tuple(map(str, paths)), out=str(folder / "lake")))
        return heard(folder / "lake")


# ------------------------------------------------------------------------------------- the measurements


def audio(size: Size) -> dict[str, Any]:
    """Whole analysis of a 44.1 kHz stereo mp3 against its bare decode."""
    from infra.bench_material import clips, music_mp3

    path, (tiny,) = music_mp3(size.long_s), clips(1, 1.0)
    analyze([tiny])
    decodes, analyses = [], []
    for _ in range(size.rounds):
        decodes.append(spent(lambda: reference_decode(path)))
        analyses.append(analyze([path]).less(analyze([tiny])))
    decode, analysis = median(decodes), median(analyses)
    rounds = list(zip(analyses, decodes, strict=True))
    return {
        "material_s": size.long_s,
        "decode_s": decode,
        "decode_x_real_time": size.long_s / decode.wall_s,
        "analyze_s": analysis,
        "analyze_x_real_time": size.long_s / analysis.wall_s,
        "ratio": statistics.median(a.wall_s / d.wall_s for a, d in rounds),
        "ratio_cpu": statistics.median(a.cpu_s / d.cpu_s for a, d in rounds),
        "heard": kept([path]),
    }


ENCODED_S = 120  # of sound that the encoders are timed on
PUSH_S = 20  # at a time, as a session does


def encoders(size: Size) -> dict[str, Any]:
    """Models alone, on decoded sound, against the bare decode of the same sound."""
    import numpy as np
    import torch

    from infra.bench_material import decode, music_mp3
    from moodstream.models import registry
    from moodstream.models.audio import AudioModels
    from moodstream.models.base import CELL_FRAMES, RATE_HZ
    from moodstream.models.features import FrontEnd
    from moodstream.models.inference import Encoder
    from moodstream.models.pooling import cell_sums

    torch.set_num_threads(1)
    path = music_mp3(ENCODED_S)
    sound = decode(path, RATE_HZ)
    pieces = np.array_split(sound, max(len(sound) // (PUSH_S * RATE_HZ), 1))
    full = AudioModels.load()
    encoded = full.networks[0].encoder
    if encoded is None:
        raise TypeError("the speech model has no encoder to measure")
    small = AudioModels.load("small") if (registry.FOLDER / "small").is_dir() else None

    @torch.inference_mode()
    def speech_encoder() -> None:
        """Samples to log-mel and descriptors to the sums of cells of the speech encoder."""
        front, encoder, held = FrontEnd(), Encoder(encoded), []
        memory = [part[None] for part in encoder.start()]
        for piece in pieces:
            held.append(front.push(piece))
            frames = torch.cat(held)
            whole = len(frames) // CELL_FRAMES * CELL_FRAMES
            _, memory = encoder.push(memory, frames[None, :whole], cell_sums(frames[:whole])[None])
            held = [frames[whole:]]

    def stream(models: AudioModels) -> None:
        """Samples to estimates of speech, music and activity."""
        channel = models.stream()
        for piece in pieces:
            channel.push(piece)
        channel.flush()

    works: dict[str, Callable[[], object]] = {
        "speech_encoder": speech_encoder,
        "all_models": lambda: stream(full),
    }
    if small is not None:
        works["all_models_small"] = lambda: stream(small)
    found: dict[str, Any] = {"material_s": ENCODED_S}
    times: dict[str, list[Spent]] = {"decode": [], **{name: [] for name in works}}
    for _ in range(2 * size.rounds + 1):  # the first one warms up
        times["decode"].append(spent(lambda: reference_decode(path)))
        for name, work in works.items():
            times[name].append(spent(work))
    decodes = times.pop("decode")[1:]
    for name, rounds in times.items():
        pairs = list(zip(decodes, rounds[1:], strict=True))
        found[name] = {
            "x_real_time": ENCODED_S / median(rounds[1:]).cpu_s,
            "x_decode": statistics.median(d.cpu_s / one.cpu_s for d, one in pairs),
        }
    return found


def midi(size: Size) -> dict[str, Any]:
    """Whole analysis of MIDI files of half an hour each."""
    from infra.bench_material import midi as midi_file

    files = [midi_file(size.long_s, part) for part in range(4)]
    analyze(files[:1])
    rounds = [(analyze(files[:1]), analyze(files)) for _ in range(size.rounds)]
    further = median(all_of_them.less(first) for first, all_of_them in rounds)
    heard_of = kept(files)
    seconds = heard_of["seconds"] * (len(files) - 1) / len(files)
    return {
        "first_file_s": median(first for first, _ in rounds),
        "further_files_s": further,
        "x_real_time": seconds / further.wall_s,
        "x_real_time_cpu": seconds / further.cpu_s,
        "heard": heard_of,
    }


def clips(size: Size) -> dict[str, Any]:
    """Many short clips, a second once started."""
    from infra.bench_material import clips as clip_files

    paths = clip_files(size.clips)
    few = paths[: size.clips // 20]
    analyze(few)
    more = median(analyze(paths).less(analyze(few)) for _ in range(size.rounds))
    return {
        "clips": len(paths),
        "clips_a_second": (len(paths) - len(few)) / more.wall_s,
        "clips_a_second_cpu": (len(paths) - len(few)) / more.cpu_s,
        "heard": kept(paths[:200]),
    }


def workers(size: Size) -> dict[str, Any]:
    """Two processes against one, on the command line, start-up taken off."""
    from infra.bench_material import clips as clip_files
    from infra.bench_material import music_mp3

    files = [music_mp3(size.worker_file_s, part) for part in range(size.worker_files)]
    tiny = clip_files(2, 1.0)

    def command(paths: list[Path], count: int) -> float:
        with scratch() as folder:
            arguments = ["analyze", *map(str, paths), "--out", str(folder / "lake"), "--workers", str(count)]
            return timed([str(MOODSTREAM), *arguments])[0]

    rounds = [
        {
            "one_s": command(files, 1),
            "two_s": command(files, 2),
            "one_start_s": command(tiny, 1),
            "two_start_s": command(tiny, 2),
        }
        for _ in range(size.rounds)
    ]
    work = [(r["one_s"] - r["one_start_s"], r["two_s"] - r["two_start_s"]) for r in rounds]
    return {
        "material_s": size.worker_files * size.worker_file_s,
        **{name: statistics.median(r[name] for r in rounds) for name in rounds[0]},
        "speed_up": statistics.median(one / two for one, two in work),
        "speed_up_with_start": statistics.median(r["one_s"] / r["two_s"] for r in rounds),
    }


# Notes when the file is opened for decoding; PyAV would be imported a little later anyway.
FIRST_FILE = """
import sys, time
import av
opened, plain = [], av.open
def noting(*arguments, **options):
    opened.append(time.time())
    return plain(*arguments, **options)
av.open = noting
from moodstream.pipelines.cli import run
status = run()
print(opened[-1], file=open(sys.argv[-1] + ".opened", "w"))
sys.exit(status)
"""


def start_up(size: Size) -> dict[str, Any]:
    """`--help`, and `analyze` until it decodes its first file, against the imports that cannot be avoided."""
    from infra.bench_material import clips as clip_files

    (tiny,) = clip_files(1, 1.0)
    imports = [sys.executable, "-c", "import apache_beam, torch"]

    def first_file() -> float:
        with scratch() as folder:
            lake = str(folder / "lake")
            start = time.time()
            timed([sys.executable, "-c", FIRST_FILE, "analyze", str(tiny), "--out", lake])
            return float(Path(lake + ".opened").read_text(encoding="utf-8")) - start

    rounds = [
        (timed([str(MOODSTREAM), "--help"])[0], timed(imports)[0], first_file())
        for _ in range(size.rounds + 3)
    ][1:]
    help_s, imports_s, first_s = (statistics.median(times) for times in zip(*rounds, strict=True))
    return {
        "help_s": help_s,
        "imports_s": imports_s,
        "first_file_s": first_s,
        "ratio": statistics.median(f / i for _, i, f in rounds),
    }


def memory(size: Size) -> dict[str, Any]:
    """Peak memory of a short and of a long file of distinct music and speech."""
    from infra.bench_material import mixed_mp3

    found: dict[str, Any] = {}
    for name, seconds in (("short", size.short_memory_s), ("long", size.long_memory_s)):
        with scratch() as folder:
            lake = folder / "lake"
            wall_s, peak_mib = timed(
                [str(MOODSTREAM), "analyze", str(mixed_mp3(seconds)), "--out", str(lake)]
            )
            found[name] = {"wall_s": wall_s, "peak_mib": peak_mib, "heard": heard(lake)}
    return found | {"ratio": found["long"]["peak_mib"] / found["short"]["peak_mib"]}


def lake(size: Size) -> dict[str, Any]:
    """A lake of 10,000 tracks with generated rows: infra/bench_lake.py, on all cores."""
    tracks = 10_000 if size == FULL else 500
    command = [sys.executable, str(HERE.with_name("bench_lake.py")), "--tracks", str(tracks)]
    found: dict[str, Any] = json.loads(subprocess.check_output(command))
    return found


MEASUREMENTS: dict[str, Callable[[Size], dict[str, Any]]] = {
    "start_up": start_up,
    "audio": audio,
    "encoders": encoders,
    "midi": midi,
    "clips": clips,
    "workers": workers,
    "memory": memory,
    "lake": lake,
}
CORES = {"workers": 2, "lake": os.cpu_count() or 1}
MANY_THREADS = {"lake"}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":")[1].strip() for line in cpu.splitlines() if "model name" in line), "")
    packages = ("moodstream", "torch", "av", "apache-beam", "deltalake", "numpy")
    return {
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def child(name: str, size: Size) -> dict[str, Any]:
    """One measurement in a process of its own, on as many cores as it is about."""
    cores = sorted(os.sched_getaffinity(0))[-CORES.get(name, 1) :]
    with scratch() as folder:
        answer = folder / "answer.json"
        command = [sys.executable, str(HERE), "--child", name, "--json", str(answer)]
        if size == QUICK:
            command.append("--quick")
        pin = ["taskset", "-c", ",".join(map(str, cores))]
        threads = {} if name in MANY_THREADS else ONE_THREAD
        subprocess.run([*pin, *command], env=os.environ | threads, check=True)
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="little material, one round: does it work at all?"
    )
    parser.add_argument(
        "--only", action="append", choices=MEASUREMENTS, help="one measurement; may be repeated"
    )
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where everything is written")
    parser.add_argument("--child", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    if arguments.child:
        arguments.json.write_text(json.dumps(MEASUREMENTS[arguments.child](size)), encoding="utf-8")
        return
    try:
        data()
    except FileNotFoundError as error:
        sys.exit(str(error))
    found, failed = {}, []
    for name in arguments.only or MEASUREMENTS:
        print(f"==> {name}: {(MEASUREMENTS[name].__doc__ or '').splitlines()[0]}", flush=True)
        try:
            found[name] = child(name, size)
        except subprocess.CalledProcessError:  # it has said why
            failed.append(name)
    whole = {"machine": machine(), "size": asdict(size), **found}
    arguments.json.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    print("\n" + table(found))
    print(f"\n{machine()['cpu']}, {machine()['cores']} cores; everything in {arguments.json}")
    if failed:
        sys.exit(f"failed, see above: {', '.join(failed)}")


if __name__ == "__main__":
    main()
