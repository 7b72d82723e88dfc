"""Logs that machines read."""

import json
import logging

import pytest

from moodstream.pipelines.operations import logs

LOG = logging.getLogger("moodstream.some.module")


def test_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with logs(as_json=True):
        LOG.info("reading %s", "packets\nof two lines", extra={"partitions": [0, 1]})
        LOG.debug("not this one")
        try:
            raise ValueError("bad")
        except ValueError:
            LOG.exception("it failed")
    LOG.info("nor this one")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first["message"] == "reading packets\nof two lines"
    assert (first["level"], first["logger"], first["partitions"]) == ("info", LOG.name, [0, 1])
    assert first["at"].endswith("+00:00")
    assert "ValueError: bad" in second["error"]


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with logs(as_json=False):
        LOG.warning("careful")
    assert capsys.readouterr().err.rstrip().endswith("WARNING careful")
