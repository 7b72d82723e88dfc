"""Calls and speech in the shapes of Amazon Transcribe Call Analytics and Hume's expression measurement.

Source: docs.aws.amazon.com/transcribe, "Post-call analytics output"; dev.hume.ai, "Speech prosody" (batch
predictions; that service ended in June 2026). Both as of 2026.
"""

from typing import Any

import numpy as np

from moodstream.models.base import STEP_MS
from moodstream.serving.api.subject import Row, Subject, mean, notes, rounded, runs
from moodstream.serving.store.store import Track

FELT = 0.2  # a turn whose mean valence lies further from zero is positive or negative
PAUSE_CELLS = 2  # of half a second: a turn goes on after a pause of at most that
_QUARTERS = 4
_HUME = """
Admiration, Adoration, Aesthetic Appreciation, Amusement, Anger, Anxiety, Awe, Awkwardness, Boredom, Calmness,
Concentration, Confusion, Contemplation, Contempt, Contentment, Craving, Desire, Determination,
Disappointment, Disgust, Distress, Doubt, Ecstasy, Embarrassment, Empathic Pain, Entrancement, Envy,
Excitement, Fear, Guilt, Horror, Interest, Joy, Love, Nostalgia, Pain, Pride, Realization, Relief, Romance,
Sadness, Satisfaction, Shame, Surprise (negative), Surprise (positive), Sympathy, Tiredness, Triumph
"""
HUME_NAMES = [name.strip() for name in _HUME.split(",")]
_OURS = {
    "Anger": "anger",
    "Boredom": "boredom",
    "Calmness": "calm",
    "Disgust": "disgust",
    "Fear": "fear",
    "Joy": "happiness",
    "Sadness": "sadness",
}


def aws(subject: Subject) -> Row:
    """The output of a Call Analytics job."""
    sides = {_participant(row): row for row in subject.summaries}
    talk = {name: {"TotalTimeMillis": row["talk_ms"]} for name, row in sides.items()}
    talked = [row["talk_ms"] for row in sides.values() if row["talk_ms"] is not None]
    counts = [row["interruptions"] for row in sides.values() if row["interruptions"] is not None]
    silent = next((row["non_talk_ms"] for row in sides.values() if row["non_talk_ms"] is not None), None)
    overlaps = [row["overlap_ms"] for row in sides.values() if row["overlap_ms"] is not None]
    quarters = {name: _quarters(row, subject.duration_ms) for name, row in sides.items()}
    scores = {
        name: [part["Score"] for part in parts if part["Score"] is not None]
        for name, parts in quarters.items()
    }
    return {
        "JobStatus": "COMPLETED",
        "JobName": subject.media["media_id"],
        "AccountId": None,
        "LanguageCode": None,
        "Channel": "VOICE",
        "ContentMetadata": {"Output": "Raw"},
        "Participants": [{"ParticipantRole": name} for name in sides],
        "Categories": _categories(subject),
        "ConversationCharacteristics": {
            "TotalConversationDurationMillis": subject.duration_ms,
            "NonTalkTime": {"TotalTimeMillis": silent, "Instances": None},
            "TalkTime": {"TotalTimeMillis": sum(talked) if talked else None, "DetailsByParticipant": talk},
            "TalkSpeed": {"DetailsByParticipant": {name: {"AverageWordsPerMinute": None} for name in sides}},
            "Interruptions": {
                "TotalCount": sum(counts) if counts else None,
                "TotalTimeMillis": max(overlaps) if overlaps else None,
                "InterruptionsByInterrupter": dict.fromkeys(sides),
            },
            "Sentiment": {
                "OverallSentiment": {
                    name: rounded(mean(found), 1) if found else None for name, found in scores.items()
                },
                "SentimentByPeriod": {"QUARTER": quarters},
            },
        },
        "Transcript": sorted(
            (turn for track in subject.tracks for turn in _turns(track)),
            key=lambda turn: (turn["BeginOffsetMillis"], turn["Id"]),
        ),
        "moodstream": notes(
            [
                "AccountId, LanguageCode, TalkSpeed, Content, Items, LoudnessScores: nothing is transcribed",
                "NonTalkTime.Instances, InterruptionsByInterrupter: only how long and how often is known",
                "Sentiment of sides whose emotions are not estimated",
            ],
            [
                "Sentiment is that of the voice, not of the words",
                "OverallSentiment is the mean of the quarters that are known",
                f"a turn's Sentiment: mean valence beyond {FELT} on either side, else NEUTRAL",
                "Interruptions.TotalTimeMillis: how long both talked at once",
                "Categories are the alerts of the rules",
            ],
        ),
    }


def _participant(row: Row) -> str:
    return str(row["role"] or row["channel"]).upper()


def _quarters(row: Row, duration_ms: int) -> list[Row]:
    scores = row["sentiment_by_quarter"] or [None] * _QUARTERS
    edges = [round(duration_ms * i / _QUARTERS) for i in range(_QUARTERS + 1)]
    return [
        {"BeginOffsetMillis": edges[i], "EndOffsetMillis": edges[i + 1], "Score": rounded(score, 1)}
        for i, score in enumerate(scores)
    ]


def _categories(subject: Subject) -> Row:
    points: dict[str, list[Row]] = {}
    for alert in subject.alerts:
        span = {"BeginOffsetMillis": alert["start_ms"], "EndOffsetMillis": alert["end_ms"]}
        points.setdefault(alert["rule"], []).append(span)
    details = {name: {"PointsOfInterest": spans} for name, spans in points.items()}
    return {"MatchedCategories": list(points), "MatchedDetails": details}


def _turns(track: Track) -> list[Row]:
    """Where a side speaks, as turns without words."""
    block = track.block
    labels, codes = block.words("activity")
    speaks = np.isin(codes, [i for i, label in enumerate(labels) if label in ("speech", "speech+music")])
    starts, valence = block.numbers("start_ms"), block.floats("valence")
    who = str(block.constant("role") or track.channel).upper()
    turns = []
    for first, end in runs(speaks, PAUSE_CELLS):
        felt = None if valence is None else mean(valence[first:end])
        turns.append(
            {
                "Id": f"{track.channel}-{int(starts[first])}",
                "ParticipantRole": who,
                "BeginOffsetMillis": int(starts[first]),
                "EndOffsetMillis": int(starts[end - 1]) + STEP_MS,
                "Content": None,
                "Items": None,
                "LoudnessScores": None,
                "Sentiment": None if felt is None else _word(felt),
            }
        )
    return turns


def _word(valence: float) -> str:
    return "POSITIVE" if valence > FELT else "NEGATIVE" if valence < -FELT else "NEUTRAL"


def hume(subject: Subject) -> list[Row]:
    """The predictions of a batch job: prosody, one group a channel, one prediction an episode."""
    groups = []
    for track in subject.tracks:
        if track.modality == "speech":
            mine = [row for row in subject.episodes if row["channel"] == track.channel]
            predictions = [_prediction(track, row) for row in mine]
            groups.append({"id": track.channel, "predictions": predictions})
    name = subject.media["media_id"]
    prosody = {"metadata": None, "grouped_predictions": groups}
    return [
        {
            "source": {"type": "file", "filename": name, "content_type": None, "md5sum": None},
            "results": {
                "predictions": [
                    {"file": name, "file_type": subject.media["kind"], "models": {"prosody": prosody}}
                ],
                "errors": [],
            },
            "moodstream": notes(
                [
                    "text, confidence of the text, speaker_confidence: nothing is transcribed",
                    f"scores of names other than {', '.join(_OURS)}; Surprise is not known to be good or bad",
                ],
                [
                    "scores are probabilities among our emotions (neutral and surprise included) and add up "
                    "to one there; Hume's are apart from each other",
                    "a prediction is an episode",
                ],
            ),
        }
    ]


def _prediction(track: Track, episode: Row) -> Row:
    labels, matrix = track.block.scores()
    starts = track.block.numbers("start_ms")
    here = (starts >= episode["start_ms"]) & (starts < episode["end_ms"])
    means: dict[str, Any] = {
        label: rounded(mean(row[here])) for label, row in zip(labels, matrix, strict=True)
    }
    return {
        "text": None,
        "time": {"begin": episode["start_ms"] / 1000, "end": episode["end_ms"] / 1000},
        "confidence": None,
        "speaker_confidence": None,
        "emotions": [{"name": name, "score": means.get(_OURS.get(name, ""))} for name in HUME_NAMES],
    }
