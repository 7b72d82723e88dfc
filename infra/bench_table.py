"""The table that `infra/bench.py` prints: what was measured, what it came to, what was wanted."""

from collections.abc import Callable, Iterator
from typing import Any

Found = dict[str, Any]
Line = tuple[str, Callable[[Found], str], str]

LINES: dict[str, tuple[Line, ...]] = {
    "audio": (
        (
            "mp3, 44.1 kHz stereo: bare decode (PyAV)",
            lambda f: f"{f['decode_x_real_time']:.0f}x real time",
            "",
        ),
        ("mp3: whole analysis", lambda f: f"{f['analyze_x_real_time']:.0f}x real time", ""),
        ("mp3: analysis / decode", lambda f: _both(f, "ratio", ".2f"), "at most 2.5, aim 1.5"),
    ),
    "encoders": (
        ("front end + speech encoder alone", lambda f: _times(f, "speech_encoder"), "5.2 x the decode"),
        ("speech + music + activity, all of it", lambda f: _times(f, "all_models"), "2.4 x the decode"),
        ("the same with --model small", lambda f: _times(f, "all_models_small"), ""),
    ),
    "midi": (
        ("MIDI: whole analysis, x real time", lambda f: _both(f, "x_real_time", ",.0f"), "at least 2,000"),
    ),
    "clips": (("3-second clips a second", lambda f: _both(f, "clips_a_second", ".0f"), "at least 100"),),
    "workers": (
        ("two workers / one", lambda f: f"{f['speed_up']:.2f}", "at least 1.7"),
        ("two workers / one, start-up included", lambda f: f"{f['speed_up_with_start']:.2f}", ""),
    ),
    "start_up": (
        ("moodstream --help", lambda f: f"{f['help_s']:.2f} s", "under 0.5 s"),
        ("import apache_beam, torch", lambda f: f"{f['imports_s']:.2f} s", ""),
        ("analyze, to its first file / those imports", lambda f: f"{f['ratio']:.2f}", "within 1.3"),
    ),
    "memory": (
        ("peak memory of the short file", lambda f: _peak(f["short"]), ""),
        ("peak memory of the long file", lambda f: _peak(f["long"]), "under 1,229 MiB"),
        ("peak memory, long / short", lambda f: f"{f['ratio']:.2f}", "within 1.1"),
    ),
    "lake": (
        ("lake: one track's curve", lambda f: f"{_question(f, 'one_curve'):.0f} ms", "under 50 ms"),
        ("lake: --rising over all tracks", lambda f: f"{_question(f, 'rising'):,.0f} ms", "under 2,000 ms"),
    ),
}


def _both(found: Found, name: str, form: str) -> str:
    """By the clock, and by the time on the processor, which another load does not stretch."""
    return f"{found[name]:{form}} (CPU time: {found[name + '_cpu']:{form}})"


def _times(found: Found, name: str) -> str:
    """How much faster than real time, and than the bare decode; 5.2 and 2.4 are 1,500 and 700 to 290."""
    if name not in found:
        return "not installed"
    return f"{found[name]['x_real_time']:,.0f}x real time, {found[name]['x_decode']:.1f} x the decode"


def _question(found: Found, name: str) -> float:
    wall_ms: float = found["as_written"][name]["wall_ms"]
    return wall_ms


def _peak(part: Found) -> str:
    return f"{part['peak_mib']:,.0f} MiB ({part['heard']['seconds'] / 3600:.2g} h of sound)"


def _heard(found: Found) -> Iterator[tuple[str, Found]]:
    """Every measurement that says what part of its material reached the encoders."""
    for name, measured in found.items():
        for label, part in ((name, measured), (f"{name}, long file", measured.get("long", {}))):
            if "heard" in part:
                yield label, part["heard"]


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items())


def _markdown(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    cells = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def table(found: Found) -> str:
    """Two markdown tables: the figures, and what share of the seconds reached which encoder."""
    figures: list[tuple[str, ...]] = [("measured", "found", "wanted")]
    for name, measured in found.items():
        figures += [(what, value(measured), goal) for what, value, goal in LINES[name]]
    heard: list[tuple[str, ...]] = [("material of", "seconds", "reached", "heard as", "has an estimate")]
    for label, part in _heard(found):
        reached, kinds = _shares(part["encoder_share"]), _shares(part["activity_share"])
        heard.append((label, f"{part['seconds']:,.0f}", reached, kinds, f"{part['estimated_share']:.0%}"))
    return _markdown(figures) + ("\n\n" + _markdown(heard) if len(heard) > 1 else "")
