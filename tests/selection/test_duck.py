"""Names of files, memory, Ctrl-C, and quantiles that sort only what is near them."""

import math
import subprocess
import sys

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds_hf.selection.duck import arrow_relation, between, database, parquet_relation, quantiles
from sds_hf.selection.rules import Threshold
from sds_hf.selection.select import select

SHARES = (0, 0.05, 0.25, 0.5, 0.95, 1)


def found(values: list[float], shares) -> list[float]:
    with duckdb.connect() as connection:
        connection.register("numbers", pa.table({"value": pa.array(values, pa.float64())}))
        return quantiles(lambda query: connection.execute(query).fetchall(), "numbers", shares)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('IO Error: Async write failed for range [offset=0, size=9]: {"exception_type":"IO","exception_message":'
         '"Could not write file \\"/data/x.parquet\\": No space left on device","errno":"28"}',
         'IO Error: Could not write file "/data/x.parquet": No space left on device; free some space and run the same '
         "command again"),
        ('IO Error: Could not write file "/tmp/sds-hf-1/spill/a.tmp": No space left on device',
         'IO Error: Could not write file "/tmp/sds-hf-1/spill/a.tmp": No space left on device; if the disk is full, '
         "free some space or set TMPDIR to a folder on a larger one"),
    ],
)  # fmt: skip
def test_a_full_disk_is_said_in_words(text, message):
    """DuckDB wraps what its threads say in JSON."""
    with pytest.raises(OSError, match="IO Error") as caught, database():
        raise duckdb.IOException(text)
    assert str(caught.value) == message


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32) | st.sampled_from([0.0, 1.0]), min_size=1),
    st.lists(st.floats(0, 1), min_size=1, max_size=3),
)
def test_the_same_as_numpy(values, shares):
    expected = np.quantile(np.array(values, np.float64), shares)
    assert found(values, shares) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("spread", [0.0, 1e-300, 1.0, 1e300])
def test_many_values_of_any_spread(spread):
    values = np.random.default_rng(0).permutation(20_000) * spread - spread
    assert found(values.tolist(), SHARES) == pytest.approx(np.quantile(values, SHARES), rel=1e-9)


def test_infinite_ones_have_their_places():
    assert found([-np.inf, 1.0, 2.0, np.inf], (0, 1 / 3, 2 / 3, 1)) == [-np.inf, 1, 2, np.inf]


numbers = st.floats(allow_nan=False, width=32) | st.sampled_from([-math.inf, math.inf, -1.7e308, 1.7e308])


@given(numbers, numbers, st.floats(0.01, 0.99))
def test_a_value_between_two_numbers_keeps_them_apart(one, other, share):
    low, high = sorted((one, other))
    value = between(low, high, share)
    assert low <= value <= high
    if math.isinf(low) != math.isinf(high) or high - low > 1:
        assert low < value < high or abs(value) == math.inf or low == high


@given(st.lists(st.sampled_from([-math.inf, math.inf, 1.0, 2.0, 3.0]), min_size=1), st.floats(0, 1))
def test_a_quantile_is_never_nothing(values, share):
    (value,) = found(values, [share])
    position = share * (len(values) - 1)
    left, right = sorted(values)[int(position)], sorted(values)[min(int(position) + 1, len(values) - 1)]
    assert left <= value <= right


def test_none_of_nothing():
    assert found([], SHARES) == []


# Files, memory, Ctrl-C

FOLDERS = [
    "v=9", "exp=7/v=0.1", "status=failed", "run[1]", "run*", "run?", "{a,b}", "[!a]", "a\\b", "it's", "new\nline", "**",
]  # fmt: skip


def written(folder, value: int):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"v": [value], "w": ["x"]}), folder / "part[0].parquet")
    return folder / "part[0].parquet"


@pytest.mark.parametrize("name", FOLDERS)
def test_names_of_folders_are_neither_columns_nor_patterns(tmp_path, name):
    for number, other in enumerate(["run1", "a", "b", "ab", "v=1", "part0"]):
        written(tmp_path / other, 100 + number)
    path = written(tmp_path / name, 1)
    with database() as connection:
        relation = parquet_relation(connection, [path, str(path)])
        assert relation.types == {"v": "BIGINT", "w": "VARCHAR"}
        columns = ", ".join(relation.columns[column] for column in ("v", "w"))
        assert connection.execute(f"SELECT {columns} FROM {relation.sql}").fetchall() == [(1, "x")] * 2


def test_a_scratch_folder_that_is_a_pattern_is_told(tmp_path):
    scratch = tmp_path / "scratch[1]"
    scratch.mkdir()
    with database(scratch=scratch) as connection:
        parquet_relation(connection, [written(tmp_path / "plain", 1).rename(tmp_path / "plain.parquet")])
    with (
        pytest.raises(ValueError, match=r"^DuckDB takes .*scratch\[1\].* for a pattern: give scratch="),
        database(scratch=scratch) as connection,
    ):
        parquet_relation(connection, [written(tmp_path / "run[1]", 1)])
    with (
        pytest.raises(ValueError, match=r"^there is no folder .*gone for what does not fit"),
        database(scratch=tmp_path / "gone"),
    ):
        pass


def test_rows_keep_the_order_of_files_and_rows(tmp_path):
    paths = [tmp_path / f"{number}.parquet" for number in range(3)]
    for number, path in enumerate(paths):
        pq.write_table(pa.table({"v": np.arange(50_000) + 50_000 * number}), path, row_group_size=3000)
    with database() as connection:
        sql = parquet_relation(connection, paths).sql
        places = f"SELECT c0, row_number() OVER () - 1 AS place FROM {sql}"
        assert connection.execute(f"SELECT count(*) FROM ({places}) WHERE c0 <> place").fetchall() == [(0,)]


def test_tables_are_handed_over_without_what_duckdb_has_not():
    kinds = {"half": pa.float16(), "wide": pa.decimal256(50, 2), "halves": pa.list_(pa.float16()), "x": pa.int8()}
    table = pa.table({name: pa.nulls(2, kind) for name, kind in kinds.items()})
    with database() as connection:
        relation = arrow_relation(connection, table, "given")
        assert relation.types == {
            "half": "FLOAT", "wide": "decimal256(50, 2)", "halves": "list<item: halffloat>", "x": "TINYINT",
        }  # fmt: skip
        assert set(relation.columns) == {"half", "x"}
        assert relation.halves == {"half"}


@pytest.mark.parametrize("limit", ["much", "", "3", "' OR 1 --", "-", "1XB", "9" * 50 + "GB"])
def test_words_that_are_no_amount_of_memory(limit):
    with pytest.raises(ValueError, match=r'^a memory limit is an amount such as "3GB", not '), database(limit):
        pass


@pytest.mark.parametrize("limit", ["500MB", "1GiB", "50%", "-1"])
def test_amounts_of_memory(limit):
    with database(limit) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_memory_that_ends_without_a_limit_names_no_option():
    def fill():
        with database() as connection:
            connection.execute("SET memory_limit = '1MB'")
            connection.execute("CREATE TABLE t AS SELECT range, hash(range) FROM range(1000000) ORDER BY 2")

    with pytest.raises(ValueError, match=r"^the rows do not fit into the memory that is free$"):
        fill()


QUERY = """
import os, signal, threading
from sds_hf.selection.duck import database

signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a background process ignores it
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    with database() as connection:
        connection.execute("SELECT sum(sin(a.range * b.range)) FROM range(9000000) a, range(900000) b").fetchall()
except KeyboardInterrupt:
    print("stopped")
"""


def test_ctrl_c_in_a_query():
    done = subprocess.run([sys.executable, "-c", QUERY], capture_output=True, text=True, timeout=60)
    assert done.stdout.split()[-1:] == ["stopped"], done.stderr


def test_a_nan_in_a_parquet_file_is_no_score(tmp_path):
    """The least and greatest value that Parquet notes leave NaN out, from which DuckDB concludes that there is none."""
    pq.write_table(pa.table({"score": pa.array([0.5, float("nan")], pa.float32())}), tmp_path / "scores.parquet")
    selection = select(str(tmp_path / "scores.parquet"), Threshold(column="score", above=0.0))
    assert selection.table()["reason"].to_pylist() == ["kept:all_rules", "dropped:null"]
