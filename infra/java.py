"""What the Java programs of tests and demos have in common: their jars, and ports that are free.

The jars of a program come from Maven once, by the list in a `pom.xml`, into a cache folder.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def missing(what: str) -> str | None:
    """What this machine lacks to run a program (`what`), in words; None if nothing."""
    lacking = [name for name in ("java", "mvn") if shutil.which(name) is None]
    return f"{what} needs {' and '.join(lacking)}, not installed here" if lacking else None


def jars(name: str, pom: Path) -> Path:
    """The folder with all jars of a list, filled by Maven if this is the first time.

    Args:
        name: the folder is `MOODSTREAM_<NAME>_JARS`, else `~/.cache/moodstream/<name>-<hash of the list>`.
        pom: the list.

    Raises:
        RuntimeError: Maven could not bring the jars; the message holds the end of its output.
    """
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moodstream"
    folder = Path(os.environ.get(f"MOODSTREAM_{name.upper()}_JARS") or cache / f"{name}-{digest}")
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={unfinished}", "-DincludeScope=runtime"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        shutil.rmtree(unfinished)
        raise RuntimeError(
            f"Maven could not bring the jars of {name}:\n{(done.stdout + done.stderr)[-2000:]}"
        )
    try:
        unfinished.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(unfinished)
    return folder


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for_port(port: int, alive: Callable[[], bool], seconds: float) -> bool:
    """Wait until somebody listens at a port; False where the program ended or the time is over."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if not alive() or time.monotonic() > end:
                return False
            time.sleep(0.05)
        else:
            return True


def stop(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Ask a process to end, and kill it when it has not done so in time."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
