"""A small Flink cluster of real processes: one job manager, task managers that can be killed and started.

It uses the jars of `infra/flink/pom.xml`, so that a job server (`infra/flink/job_server.py`) can send Beam's
pipelines to it. For trying out what a failure does; a cluster in earnest comes from Flink's own images.

    with Cluster() as cluster, JobServer(cluster.address) as server:
        beam.Pipeline(options=PipelineOptions(server.options()))
        cluster.kill_worker()
        cluster.start_worker()
"""

import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from infra import java
from infra.flink.job_server import JVM, jars

_CONFIG = """
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: 127.0.0.1
rest.address: 127.0.0.1
rest.port: {rest}
rest.bind-address: 127.0.0.1
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: 2
taskmanager.cpu.cores: 1
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
taskmanager.memory.task.heap.size: 256m
taskmanager.memory.task.off-heap.size: 128m
taskmanager.memory.network.min: 64m
taskmanager.memory.network.max: 64m
taskmanager.memory.managed.size: 64m
heartbeat.interval: 1000
heartbeat.timeout: 6000
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 1000
restart-strategy.fixed-delay.delay: 3 s
state.checkpoints.dir: file://{folder}/checkpoints
state.backend.type: hashmap
execution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION
web.submit.enable: false
"""
_ENTRY = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_WORKER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"


@dataclass(frozen=True)
class Checkpoints:
    """How a job stands."""

    state: str
    completed: int
    restored: int  # how often it went on from one


class Cluster:
    """One job manager and, at first, one task manager, up while the `with` block lasts."""

    def __init__(self, start_s: float = 120) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="moodstream-cluster-"))
        self.start_s = start_s
        self._rpc, self._rest = java.free_ports(2)
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """Where jobs are sent."""
        return f"127.0.0.1:{self._rest}"

    def __enter__(self) -> Self:
        words = {"rpc": self._rpc, "rest": self._rest, "folder": self.folder}
        (self.folder / "flink-conf.yaml").write_text(_CONFIG.format(**words))
        self._manager = self._start(_ENTRY, "manager.log")
        try:
            if not java.wait_for_port(self._rest, lambda: self._manager.poll() is None, self.start_s):
                raise RuntimeError(f"Flink's job manager did not start:\n{self.tail('manager.log')}")
            self.start_worker()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_worker(self) -> None:
        """One more task manager."""
        self.workers.append(self._start(_WORKER, f"worker{len(self.workers)}.log"))

    def kill_worker(self) -> None:
        """The last task manager dies at once."""
        worker = self.workers[-1]
        worker.kill()
        worker.wait()

    def get(self, path: str) -> Any:
        """What Flink's REST interface says."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
            return json.load(answer)

    def checkpoints(self) -> Checkpoints:
        """How the newest job stands; all zero where there is none, or while Flink has no answer."""
        try:
            jobs = self.get("/jobs/overview")["jobs"]
            job = max(jobs, key=lambda job: job["start-time"], default=None)
            found = job and self.get(f"/jobs/{job['jid']}/checkpoints")
        except urllib.error.HTTPError:  # while it restarts
            found = None
        if job is None or not found:
            return Checkpoints("", 0, 0)
        return Checkpoints(job["state"], found["counts"]["completed"], found["counts"]["restored"])

    def wait_for(self, holds: Callable[[Checkpoints], bool], seconds: float = 90) -> None:
        """Until the newest job stands like that.

        Raises:
            TimeoutError: that takes longer.
        """
        end = time.monotonic() + seconds
        while not holds(self.checkpoints()):
            if time.monotonic() > end:
                raise TimeoutError(f"after {seconds} s the job stands at {self.checkpoints()}")
            time.sleep(0.5)

    def tail(self, name: str) -> str:
        """The end of a log."""
        return (self.folder / name).read_text(errors="replace")[-4000:]

    def _start(self, main: str, log: str) -> "subprocess.Popen[bytes]":
        with (self.folder / log).open("wb") as output:
            return subprocess.Popen(
                ["java", "-Xmx512m", *JVM, "-cp", f"{jars()}/*", main, "--configDir", str(self.folder)],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self._manager):
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
