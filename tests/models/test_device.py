from collections.abc import Iterator

import pytest
import torch

from moodstream.models.device import VARIABLE, device, machine


@pytest.fixture(autouse=True)
def _chosen_anew() -> Iterator[None]:
    device.cache_clear()
    yield
    device.cache_clear()


def test_the_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "cpu")
    assert device() == torch.device("cpu")
    monkeypatch.setenv(VARIABLE, "meta")
    assert device() == torch.device("cpu")  # chosen once
    torch.set_num_threads(1)
    assert machine().startswith("cpu, one thread, torch 2.")


def test_without_it_a_gpu_is_used_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["cuda:99", "toaster"])
def test_what_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(ValueError, match=f"{VARIABLE} is '{name}'"):
        device()
