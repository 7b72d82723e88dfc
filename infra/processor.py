"""Processor time, as Linux tells it."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def fields_of(stat: Path) -> list[str]:
    """The fields of a `stat` file after the name, which may hold anything: state, parent, ..."""
    return stat.read_text().rpartition(")")[2].split()


def spent_s(fields: list[str]) -> float:
    """Processor seconds until now by these fields, of all threads or of one, in the kernel and outside."""
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_s(pid: int) -> float:
    """Processor seconds of a process until now, all threads."""
    return spent_s(fields_of(Path(f"/proc/{pid}/stat")))
