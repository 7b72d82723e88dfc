"""The command line: what it understands, what it prints, and the status it leaves with."""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from moodstream.pipelines import cli, tabular
from moodstream.pipelines.commands.analyze import ADVICE, closing, printable
from moodstream.pipelines.commands.export import FORMATS
from moodstream.pipelines.runlog import RunReport
from moodstream.transforms.errors import StoreError, UsageError

COMMANDS = ("analyze", "show", "query", "export", "models", "train", "evaluate", "compact")
HEAVY = ("torch", "apache_beam", "numpy", "pyarrow", "polars", "duckdb", "deltalake", "av", "rich", "scipy")


def _letter(**columns):
    return {"stage": "decode", "error": "truncated", "source": "a.mp3", "message": "breaks off"} | columns


@pytest.fixture
def ran(monkeypatch):
    """`catalogue.run` replaced: what it was given, and what it shall do."""
    from moodstream.pipelines import catalogue

    told = {"report": RunReport(media=1, rows=Counter(curve=10)), "error": None}

    def run(config, on_progress=None):
        told["config"] = config
        if told["error"] is not None:
            raise told["error"]
        return told["report"]

    monkeypatch.setattr(catalogue, "run", run)
    return told


# ---------------------------------------------------------------- help


def test_help_imports_nothing_heavy():
    code = "import sys; from moodstream.pipelines import cli; s = cli.run(['analyze', '--help']);"
    code += f"print('HEAVY', s, sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("HEAVY 0 []\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command, capsys):
    assert cli.run([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"\n  moodstream {command}" in text
    assert cli.run(["--help"]) == 0
    assert f"\n  {command} " in capsys.readouterr().out


# ---------------------------------------------------------------- analyze


def test_options_become_the_configuration(ran):
    line = "analyze a b --out lake --id stem --channels split --roles agent,customer --no-pair --force"
    line += " --workers 3 --manifest m.csv --features --emotions-for all --responsible Ada"
    line += " --max-hours 2.5 --beam --runner=X"
    assert cli.run(line.split()) == 0
    config = ran["config"]
    assert (config.paths, config.out, config.id, config.manifest) == (("a", "b"), "lake", "stem", "m.csv")
    assert (config.channels, config.roles, config.pair) == ("split", ("agent", "customer"), False)
    assert (config.force, config.workers, config.beam_options) == (True, 3, ("--runner=X",))
    assert (config.settings.emotions_for, config.settings.responsible) == ("all", "Ada")
    assert config.settings.features
    assert config.settings.max_hours == 2.5


def test_defaults_are_those_of_the_configuration(ran):
    from moodstream.pipelines.config import Config

    assert cli.run(["analyze", "a", "--out", "lake"]) == 0
    assert ran["config"] == Config(paths=("a",), out="lake")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UsageError("no such file: a"), 2, "no such file: a"),
        (StoreError("disk full [while running 'write rows']"), 1, "disk full\nPut that right"),
        (KeyboardInterrupt(), 130, "stopped. The same command goes on where it stopped."),
    ],
)
def test_exit_status_of_failures(ran, capsys, error, status, said):
    ran["error"] = error
    assert cli.run(["analyze", "a", "--out", "lake"]) == status
    assert said in capsys.readouterr().err


def test_a_bug_is_not_hidden(ran):
    ran["error"] = ZeroDivisionError("bug")
    with pytest.raises(ZeroDivisionError):
        cli.run(["analyze", "a", "--out", "lake"])


@pytest.mark.parametrize(
    "line", ["analyze", "analyze --out lake", "analyze a", "analyze a --out l --id x", "nonsense", "query l"]
)
def test_wrong_usage_is_status_2(line, ran):
    assert cli.run(line.split()) == 2
    assert "config" not in ran


def test_strict_answers_dead_letters_with_3(ran):
    ran["report"].dead_letters = [_letter()]
    assert cli.run(["analyze", "a", "--out", "lake"]) == 0
    assert cli.run(["analyze", "a", "--out", "lake", "--strict"]) == 3
    ran["report"].dead_letters = []
    assert cli.run(["analyze", "a", "--out", "lake", "--strict"]) == 0


def test_the_closing_line_and_the_letters():
    report = RunReport(
        media=12, skipped=3, seconds=7200.0, rows=Counter(curve=14_400, media=12), wall_s=10.0, workers=2
    )
    report.dead_letters = [_letter(source=f"bad\n{i}.mp3") for i in range(25)]
    first, *rest = closing(report, "lake")
    assert first == "12 media · 2.0 h · 14,412 rows · 25 dead letters · 360x real time a core · 3 done before"
    assert rest[0] == "  decode/truncated: bad\\n0.mp3"
    assert rest[2] == f"      -> {ADVICE['truncated']}"
    assert sum(line.startswith("  decode/") for line in rest) == 20
    assert rest[-1] == "  and 5 more: the table dead_letter has them all"


def test_nothing_to_do_is_said():
    assert closing(RunReport(skipped=4), "lake") == [
        "nothing to do: all 4 media are in lake (--force analyses them again)"
    ]


def test_names_that_no_terminal_can_print():
    assert printable("a\nb\x1b[2Jö🎵\udcff") == "a\\nb\\x1b[2Jö🎵\\udcff"


# ---------------------------------------------------------------- show, query


def test_show_prints_lists_and_writes_pages(lake_folder, tmp_path, capsys):
    assert cli.run(["show", str(lake_folder)]) == 0
    assert sorted(capsys.readouterr().out.split()) == ["calls/call.wav", "piece.mid", "song.wav"]
    assert cli.run(["show", str(lake_folder), "calls/call.wav", "--channel", "customer"]) == 0
    assert "customer · speech" in capsys.readouterr().out
    page = tmp_path / "page.html"
    assert cli.run(["show", str(lake_folder), "song.wav", "piece.mid", "--html", str(page)]) == 0
    assert page.read_text().count('"id":') == 2
    assert cli.run(["show", str(lake_folder), "sing.wav"]) == 2
    assert "close to it: 'song.wav'" in capsys.readouterr().err
    assert cli.run(["show", str(tmp_path / "none"), "song.wav"]) == 2


SQL = "SELECT media_id, emotion_shares, analyzed_at FROM best_summary JOIN media USING (media_id) ORDER BY 1"


def test_json_is_a_list_of_objects(lake_folder, capsys):
    assert cli.run(["query", str(lake_folder), SQL, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["media_id"] for row in rows] == ["calls/call.wav"] * 2 + ["piece.mid", "song.wav"]
    assert rows[3]["emotion_shares"].keys() == {"Q1", "Q2", "Q3", "Q4"}
    assert rows[3]["analyzed_at"] == "2026-01-02T03:04:00+00:00"
    assert cli.run(["query", str(lake_folder), "SELECT 1 AS a WHERE false", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert cli.run(["query", str(lake_folder), SQL, "--format", "json", "--limit", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_csv_and_parquet_come_back_as_they_went(lake_folder, tmp_path):
    sql = "SELECT media_id, start_ms, valence FROM curve ORDER BY ALL"
    for name in ("rows.csv", "rows.parquet"):
        assert cli.run(["query", str(lake_folder), sql, "--out", str(tmp_path / name)]) == 0
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert len(rows) == 121 * 2 + 180 * 2 + 80
    back = pl.read_csv(tmp_path / "rows.csv", infer_schema_length=None)
    assert back["valence"].null_count() == rows["valence"].null_count > 0
    assert back["valence"].drop_nulls().to_list() == pytest.approx(rows["valence"].drop_null().to_pylist())


def test_named_queries(lake_folder, capsys):
    lake = str(lake_folder)
    assert cli.run(["query", lake, "--near", "-0.5,0.3", "--limit", "1", "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
    assert cli.run(["query", lake, "--rising"]) == 0
    assert "row" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["SELEC 1"], "the query failed"),
        (["SELECT 1", "--rising"], "not SQL and --rising"),
        (["--near", "here"], "not two numbers"),
        (["--near", "2,0"], "lie in -1..1"),
        (["--like", "nobody"], "moodstream index LAKE"),
        (["--arc", "0:0,0 1:x,1"], "not two numbers"),
        (["--arc", "0:0,0 half:0,1"], "not SHARE:V,A"),
        (["SELECT 1", "--out", "/proc/none/x.csv"], "cannot write"),
    ],
)
def test_wrong_questions(lake_folder, capsys, arguments, said):
    assert cli.run(["query", str(lake_folder), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_table_too_wide_is_printed_in_blocks(lake_folder, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((60, 20)))
    assert cli.run(["query", str(lake_folder), "SELECT * FROM summary WHERE media_id = 'song.wav'"]) == 0
    lines = screen.getvalue().splitlines()
    assert lines[0] == "── row 1"
    assert lines[-1] == "(2 rows)"
    assert any(line.strip() == "media_id  song.wav" for line in lines)
    assert cli.run(["query", str(lake_folder), "SELECT 1 AS a", "--format", "parquet"]) == 2


def test_plain_values():
    import pyarrow as pa

    nan = pa.table({"a": [float("nan"), 0.1]}, schema=pa.schema([("a", pa.float32())]))
    assert [tabular.plain(v, nan["a"].type) for v in nan["a"].to_pylist()] == [None, 0.1]


def test_a_reader_who_leaves_early_is_no_error(lake_folder):
    command = f"{sys.executable} -m moodstream.pipelines.cli query '{lake_folder}' "
    command += "'SELECT media_id, channel, start_ms FROM curve, range(20)' --format csv | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("media_id,channel,")
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------- the rest


def test_models_are_listed_with_measures_and_limits(tmp_path, monkeypatch, capsys):
    from moodstream.models import registry

    card = {
        "name": "speech", "version": "1.0+abc", "task": "speech", "labels": ["anger", "calm"],
        "dimensions": ["valence"], "lookahead_s": 1.0, "past_s": 2.0, "corpora": {"tava": "CC-BY"},
        "folds": "5 speaker-disjoint folds", "metrics": {"CCC valence": [0.5, 0.4, 0.6]}, "seed": 0,
        "date": "2026-01-01", "limits": ["acted speech"], "prior": {}, "calibration": {},
        "licence": "Apache-2.0", "commercial": {"tava": "yes"}, "seeds": [0, 1], "commit": "abc123",
        "machine": "cpu, one thread", "cross": {"emodb AUC arousal": [0.9, 0.8, 1.0]},
    }  # fmt: skip
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "card.yaml").write_text(json.dumps(card))
    cards = registry.installed(tmp_path)
    monkeypatch.setattr(registry, "installed", lambda: cards)
    assert cli.run(["models"]) == 0
    text = capsys.readouterr().out
    for part in (
        "speech 1.0+abc",
        "tava (CC-BY; commercial use: yes)",
        "2026-01-01, commit abc123, cpu, one thread",
        "mean of seeds 0, 1",
        "CCC valence 0.500 [0.400, 0.600]",
        "emodb AUC arousal 0.900 [0.800, 1.000]",
        "acted speech",
    ):
        assert part in text
    assert cli.run(["models", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["corpora"] == {"tava": "CC-BY"}


def test_analyze_names_the_licence_of_the_weights_once(tmp_path, capsys):
    Path(tmp_path, "song.mid").write_bytes(b"")
    assert cli.run(["analyze", str(tmp_path), "--out", str(tmp_path / "lake")]) == 0
    assert capsys.readouterr().err.count("licence of the weights: non-commercial research only") == 1


def test_analyze_without_weights_says_how_to_get_them(tmp_path, monkeypatch, capsys):
    from moodstream.models import registry
    from moodstream.transforms import engine

    monkeypatch.setattr(engine, "read_card", lambda name, *folder: registry.read_card(name, tmp_path))
    Path(tmp_path, "song.mid").write_bytes(b"")
    assert cli.run(["analyze", str(tmp_path), "--out", str(tmp_path / "lake")]) == 2
    said = capsys.readouterr().err
    assert "(installed: none)" in said
    assert "moodstream train TASK" in said
    assert not (tmp_path / "lake").exists()


def test_evaluate_prints_tables_targets_and_what_is_stale(monkeypatch, capsys):
    from dataclasses import replace

    from moodstream.models import registry, training
    from moodstream.models.evaluation import StaleError
    from moodstream.models.metrics import Interval

    card = replace(registry.read_card("speech"), name="speech", version="1.0+abc")
    told = {}

    def evaluate(name, data, folder, *, stored, full, leave_one_out, progress):
        if name != "speech":
            raise StaleError(f"{name} is stale: predictions changed")
        told.update(data=data, full=full, stored=stored, leave_one_out=leave_one_out)
        progress("fold 1: fit", 0.5)
        measures = {"ravdess UAR": Interval(0.7, 0.65, 0.75), "other": Interval(0.1, 0.0, 0.2)}
        cross = {"emodb AUC arousal": Interval(0.9, 0.8, 1.0)}
        sure = {"90 % intervals of valence hold": Interval(0.91, 0.88, 0.93)}
        return training.Evaluation(card, measures, cross, sure, {}, ["one fold fitted anew: 0.0010"])

    monkeypatch.setattr(training, "evaluate", evaluate)
    assert cli.run(["evaluate", "speech", "--data", "corpora", "--full"]) == 0
    assert told == {"data": "corpora", "full": True, "stored": False, "leave_one_out": False}
    out = capsys.readouterr()
    lines = [" ".join(line.split()) for line in out.out.splitlines()]
    assert lines[0].startswith("speech 1.0+abc")
    assert "one fold fitted anew: 0.0010" in lines
    assert "ravdess UAR 0.700 [0.650, 0.750] expected >= 0.66 met, aim >= 0.72 missed" in lines
    assert "other 0.100 [0.000, 0.200]" in lines
    assert "emodb UAR not measured expected >= 0.78, aim >= 0.82" in lines
    assert "emodb AUC arousal 0.900 [0.800, 1.000]" in lines
    assert "90 % intervals of valence hold 0.910 [0.880, 0.930]" in lines
    assert "fold 1: fit 50%" in out.err

    monkeypatch.setattr(registry, "installed", lambda folder: [replace(card, name="music"), card])
    assert cli.run(["evaluate", "--stored"]) == 1
    out = capsys.readouterr()
    assert "music is stale: predictions changed" in out.err
    assert "ravdess UAR" in out.out  # the others are still measured
    assert told["stored"]


def test_train_knows_every_task():
    from moodstream.models import training
    from moodstream.pipelines.commands import train

    assert set(train.TASKS) == set(training.TASKS)


def test_train_and_evaluate_say_what_is_wrong(tmp_path, capsys):
    assert cli.run(["evaluate", "nobody"]) == 2
    assert "no model 'nobody'" in capsys.readouterr().err
    assert cli.run(["evaluate", "--models", str(tmp_path)]) == 2
    assert "no models in" in capsys.readouterr().err
    (tmp_path / "mine.csv").write_text("file,smell\na.wav,good\n")
    assert cli.run(["train", "speech", "--data", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "unknown columns ['smell']" in capsys.readouterr().err
    assert cli.run(["train", "speech", "--data", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert "no folder of corpora" in capsys.readouterr().err


@pytest.mark.parametrize("form", FORMATS)
def test_export_writes_files_in_every_format(lake_folder, tmp_path, capsys, form):
    assert cli.run(["export", str(lake_folder), "song.wav", "--format", form, "--out", str(tmp_path)]) == 0
    count = int(capsys.readouterr().out.split()[0])
    assert 0 < count <= sum(path.is_file() for path in tmp_path.rglob("*"))


def test_export_knows_the_formats_and_the_media(lake_folder, tmp_path, capsys):
    from moodstream.sinks import export

    assert tuple(export.FORMATS) == FORMATS
    assert cli.run(["export", str(lake_folder), "nobody", "--format", "csv", "--out", str(tmp_path)]) == 2
    assert "no media 'nobody'" in capsys.readouterr().err


def test_compact_tells_what_it_did(lake_folder, tmp_path, capsys):
    import shutil

    shutil.copytree(lake_folder, tmp_path / "lake")
    assert cli.run(["compact", str(tmp_path / "lake")]) == 0
    assert "curve " in capsys.readouterr().out
    assert cli.run(["compact", str(Path(tmp_path, "none"))]) == 2


def test_evaluate_self_learning_prints_gains_of_every_task_that_has_segments(monkeypatch, capsys):
    from moodstream.models import segment_study
    from moodstream.models.corpora import DataError
    from moodstream.models.metrics import Interval

    def self_learning(task, data, *, progress):
        if task == "symbolic":
            raise DataError("task is 'symbolic', self-learning is measured for music, speech")
        progress("self-learning, seed 0, fold 1", 0.5)
        return {f"{task} of {data}, gain": Interval(0.1, -0.2, 0.3)}

    monkeypatch.setattr(segment_study, "self_learning", self_learning)
    assert cli.run(["evaluate", "--self-learning", "--data", "corpora"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [f"{task} of corpora, gain 0.100 [-0.200, 0.300]" for task in ("music", "speech")]
    assert cli.run(["evaluate", "symbolic", "--self-learning"]) == 2
    assert "self-learning is measured for music, speech" in capsys.readouterr().err
