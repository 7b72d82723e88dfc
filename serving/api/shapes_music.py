"""Music in the shapes of Cyanite's analysis and Spotify's audio features.

Source: api-docs.cyanite.ai, "AudioAnalysisV6"; developer.spotify.com, "Get Track's Audio Features" (closed to
new programs since November 2024). Cyanite's names are given as they were understood; check those you use.
"""

from typing import Any

import numpy as np

from moodstream.serving.api.curves import channel_of
from moodstream.serving.api.subject import Row, Subject, notes, rounded, unit

SEGMENT_MS = 5_000
FELT, MOVES = 0.2, 0.35  # means beyond the first are high or low; deviations beyond the second are variable
_MOODS = (
    *("aggressive", "calm", "chilled", "dark", "energetic", "epic", "happy"),
    *("romantic", "sad", "scary", "sexy", "ethereal", "uplifting"),
)
_OURS = {
    **{word: word for word in ("calm", "energetic", "happy", "sad")},
    "calmness": "calm",
    "sadness": "sad",
    "relaxed": "chilled",
    "angry": "aggressive",
    "joyful activation": "uplifting",
}
_DYNAMICS = {"static": "low", "gentle": "low", "varied": "medium", "dramatic": "high"}
_PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_FLATS = {"Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#", "Bb": "A#"}
_CYANITE_KEYS = ("c", "dFlat", "d", "eFlat", "e", "f", "gFlat", "g", "aFlat", "a", "bFlat", "b")


def key_of(text: str | None) -> tuple[int, int] | None:
    """A musical key as pitch class (C is 0) and mode (major is 1).

    Example:
        >>> key_of("F# minor"), key_of("Bb major"), key_of(None)
        ((6, 0), (10, 1), None)
    """
    pitch, _, mode = (text or "").partition(" ")
    pitch = _FLATS.get(pitch, pitch)
    if pitch not in _PITCHES or mode not in ("major", "minor"):
        return None
    return _PITCHES.index(pitch), int(mode == "major")


def spotify(subject: Subject) -> Row:
    """The audio features of a track."""
    row = subject.main()
    key = key_of(row["key"])
    return {
        "id": subject.media["media_id"],
        "type": "audio_features",
        "uri": None,
        "track_href": None,
        "analysis_url": None,
        "duration_ms": subject.duration_ms,
        "valence": unit(row["valence_mean"]),
        "energy": unit(row["arousal_mean"]),
        "loudness": rounded(row["loudness_lufs_mean"], 2),
        "tempo": rounded((row["features"] or {}).get("tempo_bpm"), 2),
        "key": -1 if key is None else key[0],
        "mode": None if key is None else key[1],
        "time_signature": None,
        **dict.fromkeys(("acousticness", "danceability", "instrumentalness", "liveness", "speechiness")),
        "moodstream": notes(
            [
                "acousticness, danceability, instrumentalness, liveness, speechiness, time_signature",
                "tempo, key (-1), mode: unless the media was analysed with --features",
            ],
            [
                "valence and energy are our valence and arousal, from -1..1 to 0..1; energy is as it is felt",
                "loudness is the mean of the momentary loudness in LUFS, where Spotify has dB",
            ],
        ),
    }


def cyanite(subject: Subject) -> Row:
    """The answer to a query of a library track's AudioAnalysisV6."""
    row = subject.main()
    title = {name.casefold(): text for name, text in subject.media["tags"].items()}.get("title")
    track = {
        "__typename": "LibraryTrack",
        "id": subject.media["media_id"],
        "title": title,
        "audioAnalysisV6": {"__typename": "AudioAnalysisV6Finished", "result": _result(subject, row)},
    }
    return {
        "data": {"libraryTrack": track},
        "moodstream": notes(
            [
                "genre, subgenre, instruments, voice, movement, character, era, epoch, meter, captions",
                "mood: scores of single moods; those that are plain are in moodTags",
                "bpmPrediction, keyPrediction: unless the media was analysed with --features",
            ],
            [
                f"segments are of {SEGMENT_MS // 1000} s",
                f"energyLevel and emotionalProfile: arousal and valence beyond {FELT}; beyond a deviation of "
                f"{MOVES} they are variable",
            ],
        ),
    }


def _result(subject: Subject, row: Row) -> Row:
    words = dict.fromkeys(_OURS[word] for word in row["moods"] if word in _OURS)
    tempo, key = (row["features"] or {}).get("tempo_bpm"), key_of(row["key"])
    best = row["representative_start_ms"]
    unknown: Row = dict.fromkeys(
        (
            *("genreTags", "genre", "subgenreTags", "subgenre", "advancedGenreTags", "advancedSubgenreTags"),
            *(
                "moodMaxTimes",
                "moodAdvancedTags",
                "moodAdvanced",
                "movementTags",
                "movement",
                "characterTags",
            ),
            *("character", "classicalEpochTags", "classicalEpoch", "timeSignature", "musicalEraTag"),
            *("predominantVoiceGender", "voiceTags", "voice", "voiceoverExists", "voiceoverDegree"),
            *("instrumentTags", "instrumentPresence", "advancedInstrumentTags", "freeGenreTags"),
            *("augmentedKeywords", "transformerCaption"),
        )
    )
    return {
        "valence": rounded(row["valence_mean"]),
        "arousal": rounded(row["arousal_mean"]),
        "energyLevel": _level(row["arousal_mean"], row["arousal_std"], ("low", "medium", "high")),
        "energyDynamics": _spread(row["arousal_std"]),
        "emotionalProfile": _level(
            row["valence_mean"], row["valence_std"], ("negative", "balanced", "positive")
        ),
        "emotionalDynamics": _DYNAMICS.get(row["dynamics"] or ""),
        "moodTags": list(words),
        "mood": dict.fromkeys(_MOODS),
        "bpmPrediction": {"value": rounded(tempo, 1), "confidence": None},
        "bpmRangeAdjusted": None if tempo is None else round(tempo),
        "keyPrediction": {"value": None if key is None else _cyanite_key(*key), "confidence": None},
        "segments": _segments(subject, row)
        | {"representativeSegmentIndex": None if best is None else best // SEGMENT_MS, "mood": None},
        **unknown,
    }


def _segments(subject: Subject, row: Row) -> Row:
    tracks = [track for track in subject.tracks if track.channel == row["channel"]]
    if not tracks:
        return {"timestamps": [], "valence": [], "arousal": []}
    found: dict[str, Any] = channel_of(tracks[0], None, None, SEGMENT_MS)
    return {
        "timestamps": (found["start_ms"] / 1000).tolist(),
        **{
            name: [None if np.isnan(value) else rounded(float(value)) for value in found[name]]
            for name in ("valence", "arousal")
        },
    }


def _level(value: float | None, std: float | None, words: tuple[str, str, str]) -> str | None:
    if value is None:
        return None
    if std is not None and std > MOVES:
        return "variable"
    return words[0] if value < -FELT else words[2] if value > FELT else words[1]


def _spread(std: float | None) -> str | None:
    if std is None:
        return None
    return "low" if std < MOVES / 3 else "medium" if std < 2 * MOVES / 3 else "high"


def _cyanite_key(pitch: int, mode: int) -> str:
    return _CYANITE_KEYS[pitch] + ("Major" if mode else "Minor")
