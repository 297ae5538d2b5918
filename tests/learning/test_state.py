"""Named tensors over one buffer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from umbel.learning.state import (
    Layout,
    State,
    StateError,
    TensorSpec,
    from_bytes,
    to_bytes,
)

TENSORS = st.dictionaries(
    st.text(max_size=8),
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)),
    max_size=4,
)


@given(TENSORS)
def test_a_state_survives_its_bytes_bit_by_bit(tensors):
    state = State.of(tensors)
    again = State.from_bytes(state.to_bytes())
    assert again == state
    assert list(again) == list(tensors)
    assert again.to_bytes() == state.to_bytes()
    for name, tensor in tensors.items():
        assert again[name].tobytes() == tensor.tobytes()
        assert again[name].shape == tensor.shape


def test_tensors_are_views_of_the_one_buffer_and_do_not_change():
    state = State.of({"w": np.arange(6.0).reshape(2, 3), "b": np.array(7.0)})
    assert state.vector.tolist() == [0, 1, 2, 3, 4, 5, 7]
    assert np.shares_memory(state["w"], state.vector)
    assert state["b"].shape == ()
    with pytest.raises(ValueError, match="read-only"):
        state["w"][0, 0] = 9.0


def test_a_state_does_not_copy_what_it_is_made_of_nor_freeze_it():
    vector = np.zeros(2)
    state = State(Layout((TensorSpec("w", (2,)),)), vector)
    assert np.shares_memory(state.vector, vector)
    assert vector.flags.writeable


def test_arithmetic_is_on_the_whole_vector():
    state = State.of({"w": [1.0, 2.0], "b": 3.0})
    moved = state + np.array([10.0, 20.0, 30.0])
    assert moved["w"].tolist() == [11.0, 22.0]
    assert (moved - state).tolist() == [10.0, 20.0, 30.0]


def test_rows_of_vectors_are_split_at_once():
    layout = Layout((TensorSpec("w", (2, 2)), TensorSpec("b", ())))
    rows = np.arange(10.0).reshape(2, 5)
    split = layout.split(rows)
    assert split["w"].tolist() == [[[0, 1], [2, 3]], [[5, 6], [7, 8]]]
    assert split["b"].tolist() == [4, 9]


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"n": np.array(3)}, "'n' is of type int64"),
        (
            {"a": np.zeros(1), "b": np.zeros(1, np.float32)},
            "'b' is of type float32, 'a' of float64",
        ),
        ({"o": np.array(["x"], object)}, "'o' is of type object"),
    ],
)
def test_what_is_no_vector_is_refused(tensors, said):
    with pytest.raises(StateError, match=said):
        State.of(tensors)


def test_names_are_unique_and_sizes_agree():
    with pytest.raises(StateError, match="Two tensors are called 'w'"):
        Layout((TensorSpec("w", (1,)), TensorSpec("w", (2,))))
    with pytest.raises(StateError, match=r"shape \(3,\) for tensors of 2"):
        State.of({"w": [1.0, 2.0]}).with_vector(np.zeros(3))
    with pytest.raises(StateError, match="No tensor 'v'; there are w"):
        State.of({"w": [1.0]})["v"]
    with pytest.raises(StateError, match="different tensors"):
        State.of({"w": [1.0]}) - State.of({"v": [1.0]})


GOOD = State.of({"w": [1.0, 2.0]}).to_bytes()


def relisted(about: object) -> bytes:
    """The bytes of one tensor `w` with another list of tensors beside it."""
    from safetensors.numpy import save

    text = about if isinstance(about, str) else json.dumps(about)
    return save({"w": np.zeros(1)}, {"umbel": text})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 30,
        GOOD[:-1],
        GOOD + b"x",
        relisted("{"),
        relisted([]),
        relisted({"order": ["w"]}),
        relisted({"order": ["w", "v"], "notes": {}}),
        relisted({"order": ["w", "w"], "notes": {}}),
        relisted({"order": [], "notes": {}}),
        relisted({"order": [["w"]], "notes": {}}),
    ],
    ids=range(11),
)
def test_bytes_that_are_no_state_are_refused(data):
    with pytest.raises(StateError):
        State.from_bytes(data)


def test_files_of_other_programs_are_read_in_the_order_of_names():
    from safetensors.numpy import save

    tensors, notes = from_bytes(save({"b": np.zeros(1), "a": np.ones(2)}, {"made": "elsewhere"}))
    assert list(tensors) == ["a", "b"]
    assert notes == {"made": "elsewhere"}


def test_equal_tensors_and_notes_give_equal_bytes():
    tensors = {"b": np.array(1), "a": np.zeros((2, 3)).T}
    one = to_bytes(tensors, {"round": "3", "seed": "7"})
    other = to_bytes(tensors, {"seed": "7", "round": "3"})
    assert one == other
    back, notes = from_bytes(one)
    assert notes == {"round": "3", "seed": "7"}
    assert [(name, t.shape, t.dtype.name) for name, t in back.items()] == [
        ("b", (), "int64"),
        ("a", (3, 2), "float64"),
    ]
