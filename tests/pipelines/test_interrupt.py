"""Stopping: with which status a program leaves, how soon, and what it leaves behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moodstream.pipelines.interrupt import own_screen, scratch_folder, stoppable

PROGRAM = """
import sys, threading, time
from moodstream.pipelines import interrupt
from moodstream.pipelines.interrupt import scratch_folder, stoppable
interrupt.GRACE_S = 0.3
how = sys.argv[1]

def die():
    raise RuntimeError("Worker subprocess exited with return code -9")

try:
    with scratch_folder() as scratch, stoppable(scratch, "stopped early", at_once=how in ("at_once", "died")):
        print(scratch, flush=True)
        if how == "wrapped":
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                raise RuntimeError("KeyboardInterrupt [while running 'x']")
        if how == "died":
            threading.Thread(target=die, name="run_worker").start()
        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                pass  # as Beam does with its workers
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
    sys.exit(99)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("how", "status", "said"),
    [("wrapped", 99, ""), ("at_once", 130, "stopped early"), ("deaf", 130, "stopped early")],
)
def test_a_signal_ends_it(tmp_path, how, status, said, number):
    command = [sys.executable, "-c", PROGRAM, how]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, env=os.environ | {"TMPDIR": str(tmp_path)}) as program:
        scratch = Path(program.stdout.readline().strip())
        assert scratch.parent == tmp_path
        time.sleep(0.1)
        program.send_signal(number)
        out, err = program.communicate(timeout=20)
    assert program.returncode == status
    assert said in err
    assert "Traceback" not in err
    assert ("KeyboardInterrupt" in out) == (status == 99)
    assert not list(tmp_path.iterdir())


def test_a_worker_that_dies_ends_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "died"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "a worker process died" in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_a_signal_nothing_changes(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with stoppable(tmp_path, "", at_once=True):
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
    with pytest.raises(ZeroDivisionError), stoppable(tmp_path, "", at_once=True):
        raise ZeroDivisionError


def test_temporary_files_lie_in_one_folder_that_goes():
    import tempfile

    before = tempfile.gettempdir()
    with scratch_folder() as scratch, tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == scratch
    assert not scratch.exists()
    assert tempfile.gettempdir() == before


def test_what_workers_say_goes_to_the_log(tmp_path, capfd):
    with own_screen(tmp_path / "log") as screen:
        subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('noise')"], check=True)
        screen.write("progress")
    sys.stderr.write(" end")
    assert capfd.readouterr().err == "progress end"
    assert (tmp_path / "log").read_text() == "noise"
