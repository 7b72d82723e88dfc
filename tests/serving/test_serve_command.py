"""`moodstream serve`: what it makes of its options and of a configuration, and how it says no."""

import socket
from pathlib import Path

import pytest

from moodstream.pipelines.cli import run
from moodstream.serving import running
from moodstream.serving.config import ServeConfig


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[ServeConfig]:
    """The configurations that were run."""
    found: list[ServeConfig] = []
    monkeypatch.setattr(running, "run", lambda config, *_, **__: found.append(config))
    return found


def test_options(told: list[ServeConfig]) -> None:
    words = ["serve", "--lake", "parquet:l", "--media-root", "a", "--media-root", "b", "--kafka", "x=1=2"]
    assert (
        run([*words, "--bootstrap", "h:1", "--port", "0", "--emotions-for", "all", "--responsible", "R"]) == 0
    )
    [config] = told
    assert (config.lake, config.port, config.bootstrap) == (Path("l"), 0, "h:1")
    assert config.media_roots == (Path("a"), Path("b"))
    assert config.kafka == {"x": "1=2"}
    assert (config.emotions_for, config.responsible) == ("all", "R")
    assert config.cache_folder == Path("l/_serve")
    assert config.index_folder == Path("l/_index")


def test_a_configuration(told: list[ServeConfig], tmp_path: Path) -> None:
    file = tmp_path / "live.yaml"
    file.write_text(
        "bootstrap: h:1\nin: packets\nkafka: {sasl_mechanism: PLAIN}\n"
        "privacy: {emotions_for: all, responsible: R}\n"
        "serve: {lake: l, media_root: [a, b], port: 81}\n"
    )
    assert run(["serve", "--config", str(file), "--port", "82"]) == 0
    [config] = told
    assert (config.lake, config.port, config.bootstrap) == (Path("l"), 82, "h:1")
    assert config.media_roots == (Path("a"), Path("b"))
    assert config.kafka == {"sasl_mechanism": "PLAIN"}
    assert (config.emotions_for, config.responsible) == ("all", "R")


def test_what_it_refuses(told: list[ServeConfig], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        (["--lake", "l", "--emotions-for", "all"], "--responsible NAME"),
        (["--lake", "l", "--kafka", "x"], "expected NAME=VALUE"),
        (["--port", "1"], "--lake"),
    ):
        assert run(["serve", *words]) == 2
        assert says in capfd.readouterr().err
    file = tmp_path / "live.yaml"
    file.write_text("serve: {lake: l, prot: 81}\n")
    assert run(["serve", "--config", str(file)]) == 2
    assert "did you mean port?" in capfd.readouterr().err
    assert not told


def test_no_lake_and_no_port(served_lake: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--lake", str(tmp_path)]) == 2
    assert "is not a lake" in capfd.readouterr().err
    file = tmp_path / "file"
    file.touch()
    assert run(["serve", "--lake", str(served_lake), "--port", "0", "--cache", str(file / "x")]) == 2
    assert "--cache DIR" in capfd.readouterr().err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run(["serve", "--lake", str(served_lake), "--port", port]) == 2
    assert f"cannot listen at 127.0.0.1:{port}" in capfd.readouterr().err
    assert run(["serve", "--lake", str(served_lake), "--host", "0.0.0.0"]) == 2
    assert "keys" in capfd.readouterr().err
