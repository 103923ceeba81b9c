"""Cells of Arrow columns are what `to_pylist` gives, polygons as arrays."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds_hf.data.cells import are_whole, column_cells, stored_bytes

numbers = st.floats(-1e6, 1e6)
polygons = st.none() | st.lists(st.none() | st.lists(st.none() | numbers, max_size=4), max_size=3)
entry = st.fixed_dictionaries(
    {"class": st.none() | st.integers(0, 9), "polygons": polygons, "name": st.none() | st.text()}
)
KIND = pa.struct({"class": pa.int32(), "polygons": pa.list_(pa.list_(pa.float64())), "name": pa.string()})


def plain(value):
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("lists", [pa.list_, pa.large_list])
@given(cells=st.lists(st.none() | st.lists(st.none() | entry, max_size=4), max_size=6), cut=st.integers(0, 6))
def test_the_same_as_to_pylist(lists, cells, cut):
    column = pa.chunked_array([cells[:2], cells[2:]], type=lists(KIND)).slice(cut)
    assert plain(column_cells(column)) == column.to_pylist()


@pytest.mark.parametrize(
    "column",
    [[1, None, 3], ["a", None], [[1.5], None, [2.5, 3.5]], [[[1.5]], None], [{"bytes": b"x", "path": None}, None], []],
)
def test_other_columns_are_plain(column):
    assert column_cells(pa.chunked_array([pa.array(column)])) == column


def test_polygons_are_arrays():
    cells = [[{"class": 1, "polygons": [[0.0, 1.0, 2.0], [3.0]], "name": "x"}], []]
    (row, empty) = column_cells(pa.chunked_array([cells], type=pa.list_(KIND)))
    assert [polygon.tolist() for polygon in row[0]["polygons"]] == [[0, 1, 2], [3]]
    assert all(isinstance(polygon, np.ndarray) and polygon.dtype == np.float64 for polygon in row[0]["polygons"])
    assert empty == []


FILE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@given(chunks=st.lists(st.lists(st.binary(max_size=20), max_size=5), max_size=3), cut=st.integers(0, 6))
def test_bytes_of_files_are_those_that_are_stored(chunks, cut):
    column = pa.chunked_array([pa.array([{"bytes": data} for data in chunk], FILE) for chunk in chunks], FILE)
    column = column.slice(cut)
    assert are_whole(column)
    assert [bytes(view) for view in stored_bytes(column)] == [cell["bytes"] for cell in column.to_pylist()]


def test_bytes_of_files_are_not_copied():
    files = pa.array([{"bytes": b"one"}, {"bytes": b"two"}], FILE)
    data = files.field("bytes").buffers()[2]
    views = stored_bytes(pa.chunked_array([files]))
    assert [pa.py_buffer(view).address - data.address for view in views] == [0, 3]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"bytes": b"one"}, {"bytes": None, "path": "a.png"}], FILE),
        pa.array([{"bytes": b"one"}, None], FILE),
        pa.array([{"bytes": b"one"}], pa.struct({"bytes": pa.large_binary(), "path": pa.string()})),
        pa.array([b"one"]),
    ],
)
def test_other_columns_hold_no_whole_files(column):
    assert not are_whole(pa.chunked_array([column]))
