"""Quantiles that sort only what is near them."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds_hf.selection.duck import quantiles

SHARES = (0, 0.05, 0.25, 0.5, 0.95, 1)


def found(values: list[float], shares) -> list[float]:
    with duckdb.connect() as connection:
        connection.register("numbers", pa.table({"value": pa.array(values, pa.float64())}))
        return quantiles(lambda query: connection.execute(query).fetchall(), "numbers", shares)


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


def test_none_of_nothing():
    assert found([], SHARES) == []
