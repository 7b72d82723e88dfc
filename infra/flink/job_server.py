"""Beam's Flink job server with a Flink of its own in one Java process, for tests and for trying things out.

The jars come from Maven once, by the list in `pom.xml` beside this file, into a cache folder
(`MOODSTREAM_FLINK_JARS`, else `~/.cache/moodstream/flink-<hash of the list>`). On a real cluster take the
job server that belongs to its Flink version instead.

    with JobServer() as server:
        beam.Pipeline(options=PipelineOptions(server.options()))

As a command, `python -m infra.flink.job_server` starts one, prints the options for a pipeline and stays until
Ctrl-C; with `--fetch` it only fills the cache.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Self

from infra import java

POM = Path(__file__).with_name("pom.xml")
JVM = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
for _package in ("lang", "util", "net", "nio", "util.concurrent", "lang.invoke"):
    JVM += ["--add-opens", f"java.base/java.{_package}=ALL-UNNAMED"]
MAIN = "org.apache.beam.runners.flink.FlinkJobServerDriver"


def missing() -> str | None:
    """What this machine lacks to run Flink, in words; None if nothing."""
    return java.missing("Flink")


def jars() -> Path:
    """The folder with Beam's Flink runner and all it needs, filled by Maven if this is the first time.

    Raises:
        RuntimeError: Maven could not bring the jars.
    """
    return java.jars("flink", POM)


class JobServer:
    """One job server on free ports, up while the `with` block lasts.

    Args:
        flink_master: `[local]` for a Flink inside the server's own process, or `host:port` of a cluster.
        log: where the Java process writes; by default a temporary file that is shown when the start fails.
        start_s: how long the start may take.
    """

    def __init__(self, flink_master: str = "[local]", log: Path | None = None, start_s: float = 120) -> None:
        self.flink_master = flink_master
        self.log = log
        self.start_s = start_s

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="moodstream-flink-"))
        self.log = self.log or self._folder / "log"
        self.job_port, self.artifact_port = java.free_ports(2)
        with self.log.open("wb") as output:
            self._process = self._start(output)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        command = ["java", "-Xmx768m", *JVM, f"-Djava.io.tmpdir={self._folder}"]
        ports = ["--job-port", str(self.job_port), "--artifact-port", str(self.artifact_port)]
        server = [*ports, "--expansion-port", "-1", "--flink-master", self.flink_master]
        return subprocess.Popen(
            [*command, "-cp", f"{jars()}/*", MAIN, "--job-host", "127.0.0.1", *server],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
        )

    def _wait(self) -> None:
        if not java.wait_for_port(self.job_port, lambda: self._process.poll() is None, self.start_s):
            raise RuntimeError(f"Flink's job server did not start:\n{self.tail()}")

    def tail(self) -> str:
        """The end of what the Java process wrote."""
        return self.log.read_text(errors="replace")[-4000:] if self.log else ""

    def options(self, parallelism: int = 1) -> list[str]:
        """The options with which a Beam pipeline runs here, its Python workers in the calling process."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint=127.0.0.1:{self.job_port}",
            "--environment_type=LOOPBACK",
            f"--parallelism={parallelism}",
        ]

    def wait(self) -> None:
        """Return when the Java process has ended."""
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        java.stop(self._process, 10)
        shutil.rmtree(self._folder, ignore_errors=True)


def main() -> None:
    """Fill the cache, and without `--fetch` run a server until Ctrl-C."""
    jars()
    if "--fetch" in sys.argv[1:]:
        return
    with JobServer() as running:
        print(" ".join(running.options()), flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # or Java would outlive it
        with contextlib.suppress(KeyboardInterrupt):
            running.wait()


if __name__ == "__main__":
    main()
