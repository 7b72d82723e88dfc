"""The device that fits run on: a GPU where there is one, chosen once a process.

Only fitting moves to it. Whatever is kept, shipped or used for analysis lies on the CPU.
"""

import os
from functools import cache

import torch

VARIABLE = "MOODSTREAM_DEVICE"


@cache
def device() -> torch.device:
    """The device to fit on: MOODSTREAM_DEVICE where it is set, else the first GPU, else the CPU.

    Raises:
        ValueError: MOODSTREAM_DEVICE names a device that is not there.
    """
    wanted = os.environ.get(VARIABLE) or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"{VARIABLE} is {wanted!r}, which torch cannot use: {error}") from error
    return torch.device(wanted)


def machine() -> str:
    """What decides how numbers round: device, threads, torch."""
    chosen = device()
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else f"{chosen.type}, one thread"
    if chosen.type == "cpu" and torch.get_num_threads() > 1:
        name = f"cpu, {torch.get_num_threads()} threads"
    return f"{name}, torch {torch.__version__.split('+')[0]}"
