"""State as bytes: back bit by bit, or refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodstream.transforms.state import MAGIC, VERSION, StateError, pack, unpack

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


def same(one: object, two: object) -> bool:
    if isinstance(one, float) and isinstance(two, float) and math.isnan(one):
        return math.isnan(two)
    if isinstance(one, list | tuple) and type(one) is type(two):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return type(one) is type(two) and one == two


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_what_goes_in_comes_out(state: dict[str, object]) -> None:
    assert same(unpack(pack(state)), state)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "i2", "i8", "?"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 5), (0, 4)])
def test_arrays_come_back_bit_by_bit(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.asarray(np.random.default_rng(0).standard_normal(shape) * 3).astype(dtype)
    found = unpack(pack({"array": array, "again": [array]}))
    for one in (found["array"], found["again"][0]):
        assert one.dtype == array.dtype
        assert one.shape == array.shape
        np.testing.assert_array_equal(one, array)


def test_what_no_state_can_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        pack({"x": {1, 2}})
    with pytest.raises(TypeError, match="text"):
        pack({"x": {1: 2}})


def test_bytes_of_something_else_of_another_version_or_damaged_are_refused() -> None:
    good = pack({"x": np.arange(100.0)})
    with pytest.raises(StateError, match="not a state"):
        unpack(b"PK\x03\x04")
    other = MAGIC + (VERSION + 1).to_bytes(2, "big") + good[len(MAGIC) + 2 :]
    with pytest.raises(StateError, match=f"layout {VERSION + 1}"):
        unpack(other)
    with pytest.raises(StateError, match="damaged"):
        unpack(good[:-9])
