"""`/v1/analysis`: the formats are those of the exports, the archives are whole, hostile names stay text."""

import csv
import io
import zipfile

import jams
import orjson
import polars as pl
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from praatio import textgrid

from moodstream.serving.api.analysis import harmless, named
from moodstream.serving.api.parameters import OfAnalysis
from moodstream.sinks.export import FORMATS
from tests.pipelines.conftest import MemoryLake
from tests.serving.conftest import HOSTILE

SINGLE = {
    "jams": "application/vnd.jams+json",
    "rttm": "text/x-rttm",
    "textgrid": "text/x-textgrid",
    "webvtt": "text/vtt",
    "sed": "text/tab-separated-values",
}


def test_every_format_of_the_exports_is_offered() -> None:
    offered = OfAnalysis.model_json_schema()["properties"]["format"]["anyOf"][0]["enum"]
    assert set(offered) == {"json", "arrow", *FORMATS}


def test_json_is_everything(client: TestClient, memory_lake: MemoryLake) -> None:
    told = client.get("/v1/analysis?media=calls/call.wav").json()
    assert told["media"]["kind"] == "call"
    assert len(told["summaries"]) == 2
    assert len(told["alerts"]) == 1
    assert len(told["episodes"]) == len(memory_lake.rows("episode", "calls/call.wav"))
    curve = client.get("/v1/curve?media=calls/call.wav").json()
    assert told["curve"]["channels"] == curve["channels"]


@pytest.mark.parametrize("form", SINGLE)
def test_formats_of_one_file(client: TestClient, form: str) -> None:
    answer = client.get("/v1/analysis", params={"media": "song.wav", "format": form})
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == SINGLE[form]
    assert answer.headers["content-disposition"].startswith('attachment; filename="song.wav.')
    assert answer.content


def test_readers_of_the_formats_take_them(client: TestClient, memory_lake: MemoryLake) -> None:
    def text(form: str) -> str:
        return client.get("/v1/analysis", params={"media": "song.wav", "format": form}).text

    episodes = [
        row for row in memory_lake.rows("episode", "song.wav").to_pylist() if row["modality"] == "fused"
    ]
    assert text("webvtt").count("-->") == len(episodes)
    assert len(text("rttm").splitlines()) == len(episodes)
    jam = jams.JAMS(**{})
    jam = jams.load(io.StringIO(text("jams")))
    assert len(jam.search(namespace="segment_open")[0].data) == len(episodes)


def test_a_textgrid_opens(client: TestClient, tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "x.TextGrid"
    file.write_bytes(client.get("/v1/analysis?media=calls/call.wav&format=textgrid").content)
    assert textgrid.openTextgrid(str(file), False).tierNames == ("agent", "customer")


@pytest.mark.parametrize(("form", "files"), [("csv", 2), ("audformat", 3), ("arrow", 5)])
def test_formats_of_several_files_are_archives(client: TestClient, form: str, files: int) -> None:
    answer = client.get("/v1/analysis", params={"media": "song.wav", "format": form})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == files
        if form == "arrow":
            curve = pa.ipc.open_stream(archive.read("curve.arrow")).read_all()
            assert set(curve["modality"].to_pylist()) == {"fused"}
    again = client.get("/v1/analysis", params={"media": "song.wav", "format": form})
    assert again.content == answer.content


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/vtt", "text/vtt"),
        ("text/csv", "application/zip"),
        ("*/*", "application/json"),
        ("application/vnd.jams+json", "application/vnd.jams+json"),
    ],
)
def test_formats_by_accept(client: TestClient, accept: str, kind: str) -> None:
    answer = client.get("/v1/analysis?media=song.wav", headers={"Accept": accept})
    assert answer.headers["content-type"].split(";")[0] == kind


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("form", ["csv", "webvtt", "jams", "textgrid", "rttm"])
def test_hostile_names_stay_text(client: TestClient, name: str, form: str) -> None:
    answer = client.get("/v1/analysis", params={"media": name, "format": form})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    shown = answer.headers["content-disposition"]
    assert shown.isascii()
    assert shown.count('"') == 2
    if form == "csv":
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            for inside in archive.namelist():
                assert "/" not in inside
                for row in csv.reader(io.StringIO(archive.read(inside).decode())):
                    assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for cell in row)


def test_only_texts_get_an_apostrophe() -> None:
    rows = pl.DataFrame({"a": ["=1", "x", "-2", None, "@b", "+3"], "b": [-1.0, 2, 3, 4, 5, 6]})
    made = harmless(rows)
    assert made["a"].to_list() == ["'=1", "x", "'-2", None, "'@b", "'+3"]
    assert made["b"].equals(rows["b"])


def test_names_of_downloads() -> None:
    header = named('x"\r\nSet-Cookie: a=b; ü.vtt')["Content-Disposition"]
    assert "\r" not in header
    assert "\n" not in header
    assert header.startswith(
        "attachment; filename=\"x___Set-Cookie_ a_b_ _.vtt\"; filename*=UTF-8''x%22%0D%0A"
    )


def test_answers_are_valid_json(client: TestClient) -> None:
    for name in ("song.wav", *HOSTILE):
        orjson.loads(client.get("/v1/analysis", params={"media": name}).content)
