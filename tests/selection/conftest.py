"""What tests of tables made for rules share."""

import pytest
from support.encoders import ExactEncoder, exact_similarity

from sds_hf.clip import similarity
from sds_hf.scores.base.score import ClipScore


@pytest.fixture(scope="module")
def encoder():
    """The exact encoder in place of any other."""
    exact = ExactEncoder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClipScore, "encoder", lambda score: exact)
        patch.setattr(similarity, "similarity", exact_similarity)
        yield exact
