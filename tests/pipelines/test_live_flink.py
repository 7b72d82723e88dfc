"""The live pipeline on a real Flink cluster: its task manager dies, and no row is lost or doubled."""

import pytest

from infra.kafka.broker import Broker

pytest.importorskip("kafka")


def test_a_killed_task_manager_loses_and_doubles_nothing(broker: Broker) -> None:
    from tests.support import flink_run

    report = flink_run.run(broker, "onflink", calls=4, seconds=15, kills=1, pace=3)
    assert (report.lost, report.doubled) == (0, 0)
    assert report.restored >= 1
    assert report.rows > 4 * 60
