"""What holds for every score: a new file in `sds_hf/scores/` is tested here without being named."""

import copy
import inspect
import json
import pickle

import pyarrow as pa
import pytest
from datasets import Dataset, Image
from datasets.fingerprint import Hasher
from support.rows import random_row

from sds_hf import add_scores
from sds_hf.data.folder import row_features
from sds_hf.data.images import encode_mask
from sds_hf.data.labels import VOC
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.fitted import FittedScore
from sds_hf.scores.base.score import ClipScore, Score

SCORES = sorted(score_classes().values(), key=lambda score: score.name)


ALONE = {"duplicate_sim", "duplicate_of"}  # null by right where no other row has the prompt


@pytest.fixture(scope="module")
def dataset(dataset) -> Dataset:
    """The usual rows with prompts that name the classes shown."""
    rows = dataset.with_format("arrow")[:].to_pylist()
    prompts = [" ".join(VOC.names[index] for index in row["classes"]) for row in rows]
    return dataset.remove_columns("class_prompt").add_column("class_prompt", prompts)


@pytest.fixture(params=SCORES, ids=lambda score: score.name)
def score(request, tiny_clip, dataset, tmp_path_factory) -> Score:
    """A score with the settings it has by itself, fitted if it has to be."""
    kind = request.param
    made = kind(**({"model": tiny_clip, "dtype": "fp32"} if issubclass(kind, ClipScore) else {}))
    if not made.is_fitted:
        return made.fit(dataset)
    if isinstance(made, FittedScore) and made.compares:
        out = tmp_path_factory.mktemp("fitted") / "model.npz"
        given = {"reference": dataset, "real": dataset, "synthetic": dataset, "out": out}
        wanted = inspect.signature(kind.fit).parameters
        return kind.fit(**{name: given[name] for name in given if name in wanted}, model=tiny_clip, dtype="fp32")
    return made


def test_names_columns_and_sources(score):
    assert score_classes()[score.name] is type(score)
    assert score.columns
    assert all(isinstance(dtype, pa.DataType) for dtype in score.columns.values())
    assert score.reads == score.needs <= {*row_features(VOC)}
    assert score.source


def test_the_docstring_is_a_manual(score):
    text = inspect.getdoc(type(score))
    assert text.splitlines()[0].endswith(".")
    for section in ("Columns read:", "Columns written:", "Args:", "Source:"):
        assert section in text
    for name in (*score.columns, *score.values()):
        assert name in text


def test_it_survives_pickling(score):
    again = pickle.loads(pickle.dumps(score))
    assert again == score
    assert Hasher.hash(again) == Hasher.hash(score)
    statistics = json.dumps(score.values().get("statistics"))
    assert len(pickle.dumps(score)) - len(statistics) < 1000


def test_calling_it_does_not_change_its_fingerprint(score, dataset):
    before = Hasher.hash(score)
    dataset.select([0]).map(score, batched=True)
    assert Hasher.hash(score) == before


def test_every_setting_changes_the_identity(score):
    """Nothing decides a number that the fingerprint does not know."""
    given = {name: value for name, value in score.values().items() if name not in ("model", "dtype", "fitted")}
    for name, value in given.items():
        other = copy.copy(score)
        object.__setattr__(other, name, f"not {value}")
        assert other.identity() != score.identity(), name


def test_it_is_frozen(score):
    with pytest.raises(AttributeError):
        score.labels = "coco"


def test_one_value_a_row_of_the_declared_type(score, dataset):
    scored = dataset.map(score, batched=True)
    table = scored.with_format("arrow")[:]
    for name, dtype in score.columns.items():
        assert table[name].type == dtype
        assert table[name].null_count == 0 or name in ALONE
        assert len(table[name]) == len(dataset)


def test_batches_of_one_and_of_five_agree(score, dataset):
    one, five = (dataset.map(score, batched=True, batch_size=size).to_pandas() for size in (1, 5))
    for name in score.columns:
        if score.columns[name] == pa.float32():
            assert (one[name].isna() == five[name].isna()).all()
            assert (one[name] - five[name]).abs().fillna(0).max() < 2e-5
        else:
            assert [str(value) for value in one[name]] == [str(value) for value in five[name]]


def test_a_row_without_a_class_is_null_or_empty(score, dataset):
    row = random_row(1) | {"mask": {"bytes": encode_mask(_empty()), "path": "empty.png"}, "classes": []}
    scored = add_scores(Dataset.from_list([row], features=dataset.features), score)
    if score.reads & {"mask", "classes"}:
        assert all(scored[name][0] in (None, [], 0) for name in score.columns)
    else:  # it looks at the image alone
        assert scored[score.name][0] is not None


def test_images_are_untouched(score, dataset):
    scored = dataset.map(score, batched=True, batch_size=5)
    for column in ("image", "mask"):
        stored = [data.cast_column(column, Image(decode=False))[column] for data in (dataset, scored)]
        assert list(stored[0]) == list(stored[1])


def test_identity_leaves_nothing_open(score):
    identity = score.identity()
    assert identity["version"] == type(score).version
    assert "auto" not in (identity.get("dtype"),)
    if isinstance(score, ClipScore):
        assert len(identity["model_digest"]) == 64


def _empty():
    import numpy as np

    return np.zeros((40, 40), np.uint8)


def test_two_scores_of_one_name_are_refused():
    with pytest.raises(TypeError, match="two scores are called 'pcs'"):
        type("Other", (score_classes()["classes_present"],), {"name": "pcs", "__module__": "elsewhere"})
