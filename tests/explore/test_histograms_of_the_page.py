"""The page's histograms have the bins of the library's pictures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.page import NODE, node

from sds_hf.selection.summary import bin_edges

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no Node")
NUMBERS = st.floats(-1e6, 1e6)


@pytest.fixture(scope="module")
def page():
    with node("bin_lines.js") as process:
        yield process


@given(values=st.lists(NUMBERS, min_size=1, max_size=200), bounds=st.lists(NUMBERS, max_size=3))
@settings(max_examples=100)
def test_the_same_bins(page, values, bounds):
    bounds = [*bounds, values[0]]
    answer = page.ask({"values": [*values, None], "bounds": bounds})
    assert answer["edges"] == bin_edges(min(values), max(values), len(values), bounds)
    assert answer["counts"] == np.histogram(values, answer["edges"])[0].tolist()
