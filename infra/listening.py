"""A picture a media of what the curves of a lake say, for docs/listening.md.

    moodstream analyze ../shared/data/music/demo_media --out listening-lake
    python -m infra.listening listening-lake docs/listening

An SVG holds, above one another: valence and arousal with one standard deviation around them, the episodes of
the same track, what is heard (activity), and loudness. Gaps are where there is no estimate.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from moodstream.pipelines.view import Track, View, load
from moodstream.sinks.read import Lake

WIDTH, LEFT, TOP, PLOT, STRIP = 760, 46, 30, 150, 16
MOST_POINTS = 300  # of a curve
CURVES = {"arousal": (1, "#c2410c"), "valence": (0, "#1d4ed8")}
ACTIVITY = {
    "music": "#94a3b8",
    "speech": "#facc15",
    "speech+music": "#a3a35a",
    "silence": "#f1f5f9",
    "other": "#e2e8f0",
}
EMOTIONS = ("#fbbf24", "#ef4444", "#6366f1", "#34d399", "#a78bfa", "#64748b", "#f472b6", "#22d3ee", "#84cc16")


def picture(view: View) -> str:
    """The SVG of a media: its best track."""
    track = view.best()[0]
    n = max(len(track.mean), 1)
    step = (WIDTH - LEFT - 10) / n
    seconds = view.duration_s
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {TOP + PLOT + 150}" '
        'font-family="sans-serif" font-size="11" fill="#334155">',
        f'<rect width="{WIDTH}" height="{TOP + PLOT + 150}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="13">{escape(view.media_id)} · {escape(track.name)}</text>',
    ]
    for i, name in enumerate(CURVES):
        rows.append(f'<text x="{WIDTH - 140 + 70 * i}" y="18" fill="{CURVES[name][1]}">{name}</text>')
    for value in (-1, -0.5, 0, 0.5, 1):
        y = _height(value)
        rows.append(f'<path d="M{LEFT} {y}H{WIDTH - 10}" stroke="#e2e8f0"/>')
        rows.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    for name, (column, colour) in CURVES.items():
        rows += _curve(track.mean[:, column], track.std[:, column], step, colour, name)
    y = TOP + PLOT + 12
    rows += _strip(y, "episode", _episodes(track, step))
    rows += _strip(y + 28, "heard", _runs(track.activity, step))
    rows += _loudness(track.loudness_lufs, step, y + 56)
    for second in np.arange(0, seconds + 0.1, _tick(seconds)):
        x = LEFT + 2 * second * step
        rows.append(f'<text x="{x:.0f}" y="{y + 126}" text-anchor="middle">{second:g} s</text>')
    return "\n".join([*rows, "</svg>"]) + "\n"


def _height(value: float) -> float:
    return round(TOP + PLOT * (1 - value) / 2, 1)


def _tick(seconds: float) -> float:
    return next((tick for tick in (1, 2, 5, 10, 15, 30, 60, 300) if seconds / tick <= 12), 600)


def _curve(
    mean: npt.NDArray[np.float32], std: npt.NDArray[np.float32], step: float, colour: str, name: str
) -> Iterator[str]:
    every = len(mean) // MOST_POINTS + 1
    for start, stop in _stretches(np.isfinite(mean)):
        shown = np.arange(start, stop, every)
        at = [f"{LEFT + (i + 0.5) * step:.1f}" for i in shown]
        high = [_height(min(v, 1)) for v in mean[shown] + std[shown]]
        low = [_height(max(v, -1)) for v in mean[shown] - std[shown]]
        band = [f"{x},{y}" for x, y in zip(at, high, strict=True)]
        band += [f"{x},{y}" for x, y in zip(reversed(at), reversed(low), strict=True)]
        yield f'<polygon points="{" ".join(band)}" fill="{colour}" opacity="0.08"/>'
        line = " ".join(f"{x},{_height(v)}" for x, v in zip(at, mean[shown], strict=True))
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8"><title>{name}'
        yield "</title></polyline>"


def _stretches(known: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], known, [False])).astype(int)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _strip(y: float, name: str, parts: Sequence[tuple[float, float, str, str]]) -> Iterator[str]:
    yield f'<text x="{LEFT - 6}" y="{y + 12}" text-anchor="end">{name}</text>'
    for x, width, word, colour in parts:
        yield f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{STRIP}" fill="{colour}"/>'
        if width > 6.5 * len(word):
            yield f'<text x="{x + width / 2:.1f}" y="{y + 12}" text-anchor="middle">{escape(word)}</text>'


def _episodes(track: Track, step: float) -> list[tuple[float, float, str, str]]:
    words = list(dict.fromkeys(episode["emotion"] for episode in track.episodes))
    return [
        (
            LEFT + 2 * episode["start_ms"] / 1000 * step,
            2 * (episode["end_ms"] - episode["start_ms"]) / 1000 * step,
            str(episode["emotion"]),
            EMOTIONS[words.index(episode["emotion"]) % len(EMOTIONS)],
        )
        for episode in track.episodes
    ]


def _runs(words: Sequence[str], step: float) -> list[tuple[float, float, str, str]]:
    edges = [i for i in range(len(words)) if not i or words[i] != words[i - 1]]
    return [
        (LEFT + a * step, (b - a) * step, words[a], ACTIVITY.get(words[a], "#ffffff"))
        for a, b in zip(edges, [*edges[1:], len(words)], strict=True)
    ]


def _loudness(lufs: npt.NDArray[np.float32], step: float, y: float) -> Iterator[str]:
    yield f'<text x="{LEFT - 6}" y="{y + 30}" text-anchor="end">LUFS</text>'
    for value in (-60, -10):
        yield f'<text x="{LEFT - 6}" y="{y + 4 - 10 - value:.0f}" text-anchor="end">{value}</text>'
    for start, stop in _stretches(np.isfinite(lufs)):
        heights = [y + 50 * (-10 - float(np.clip(v, -60, -10))) / 50 for v in lufs[start:stop]]
        line = " ".join(f"{LEFT + (start + i + 0.5) * step:.1f},{h:.1f}" for i, h in enumerate(heights))
        yield f'<polyline points="{line}" fill="none" stroke="#0f766e" stroke-width="1.2"/>'


def main() -> None:
    """Draw every media of a lake."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lake", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    reader = Lake(str(arguments.lake))
    for media_id in reader.media_ids():
        path = arguments.out / f"{Path(media_id).stem}.svg"
        path.write_text(picture(load(reader, media_id)), encoding="utf-8")
        print(f"{path}  {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
