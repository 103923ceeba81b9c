"""Visual similarity by a Gaussian mixture of patch tokens: the worked numbers, the fit, and the shared pass."""

import json
import shutil
import sys
import warnings

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from support.rows import random_dataset, random_row

from sds_hf import add_scores, score_table
from sds_hf.clip.device import resolve_dtype
from sds_hf.clip.vit import VisionTransformer
from sds_hf.scores.base.fitted import load_statistics, save_statistics
from sds_hf.scores.clip_sim import ClipSim
from sds_hf.scores.functional.mixture import ElementModel, Mixture, aggregate, fit_elements
from sds_hf.scores.gmm_sim import GMMSim
from sds_hf.scores.pcs import PCS

MIXTURE = Mixture(np.array([0.6, 0.4]), np.array([[0.0, 0.0], [2.0, 1.0]]), np.array([[1.0, 1.0], [0.5, 0.25]]))
IMAGES = torch.tensor([[[0, 0], [2, 1], [1, 0.5]], [[3, 3], [-2, 1], [0, 2]], [[0, 0], [0, 0], [5, 5]]])


@pytest.fixture(scope="module")
def fitted(tiny_clip, tmp_path_factory) -> GMMSim:
    out = tmp_path_factory.mktemp("gmm") / "gmm.npz"
    return GMMSim.fit(random_dataset(8), out, model=tiny_clip, dtype="fp32", components=4, dimensions=8)


def test_log_densities_of_the_specification():
    expected = [
        [-2.3440395994, -1.6718357760, -2.3937003768],
        [-10.2889635729, -4.8487001051, -4.3147493833],
        [-2.3440395994, -2.3440395994, -27.3487024780],
    ]
    assert MIXTURE.log_density(IMAGES).numpy() == pytest.approx(np.array(expected), abs=1e-9)


def test_aggregates_of_the_specification():
    values = MIXTURE.log_density(IMAGES).numpy()
    assert [aggregate(row, "mean") for row in values] == pytest.approx([-2.1365252507, -6.4841376871, -10.6789272256])
    assert [aggregate(row, "median") for row in values] == pytest.approx([-2.3440395994, -4.8487001051, -2.3440395994])
    assert [aggregate(row, "sum") for row in values] == pytest.approx([3 * value.mean() for value in values])
    pooled = MIXTURE.log_density(IMAGES.mean(1)).numpy()
    assert pooled == pytest.approx([-2.3937003768, -4.2874188533, -2.6286062264], abs=1e-7)


def test_the_trimmed_mean_leaves_out_a_tenth_at_either_end():
    assert aggregate(np.array([1000.0, *range(1, 19), -1000.0]), "trimmed") == np.mean(range(2, 18))
    assert aggregate(np.array([1.0, 2.0, 6.0]), "trimmed") == 3


def test_elements_that_are_not_finite_are_left_out():
    assert aggregate(np.array([1.0, np.nan, 3.0]), "mean") == 2
    assert aggregate(np.array([np.nan, np.nan]), "median") == -np.inf
    model = ElementModel(True, np.zeros(2), np.eye(2), MIXTURE)
    densities = model.log_density(torch.tensor([[0.0, 0.0], [torch.nan, 1.0], [torch.inf, 1.0]]))
    assert densities.isnan().tolist() == [False, True, True]
    assert densities[0] == pytest.approx(-2.3440395994)  # a vector of zeros stays one


@given(st.integers(1, 4), st.integers(0, 1000))
def test_densities_agree_with_scikit_learn(components, seed):
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(seed)
    points = rng.normal(size=(40, 3)) * rng.uniform(0.01, 10, 3)
    theirs = GaussianMixture(components, covariance_type="diag", random_state=0, max_iter=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(points)
    ours = Mixture(theirs.weights_, theirs.means_, theirs.covariances_)
    found = ours.log_density(torch.from_numpy(points)).numpy()
    assert found == pytest.approx(theirs.score_samples(points), rel=1e-6, abs=1e-6)


def test_bic_finds_the_number_of_clusters():
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(16, 6)) * 20
    elements = (centers[rng.integers(0, 16, 4000)] + rng.normal(size=(4000, 6))).astype(np.float32)
    _, found = fit_elements(elements, components="bic", normalize=False)
    assert found["components"] == 16
    assert found["bic"].keys() == {"8", "16", "32", "64"}
    assert found["dimensions"] == 6


def test_few_elements_get_few_components():
    elements = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    with pytest.warns(UserWarning, match="50 elements are too few for 32 components: at most 5 are fitted"):
        _, found = fit_elements(elements)
    assert found["components"] == 5


def test_equal_elements_have_a_density():
    elements = np.ones((40, 4), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, _ = fit_elements(elements, components=2)
    assert model.log_density(torch.from_numpy(elements)).isfinite().all()


def test_elements_that_are_all_broken_are_refused():
    with pytest.raises(ValueError, match="at least 2 finite feature vectors, not 0"):
        fit_elements(np.full((5, 3), np.nan, np.float32))


def test_the_reference_itself_scores_higher_than_noise(tiny_clip, tmp_path):
    flat = [random_row(i) for i in range(6)]
    for place, row in enumerate(flat):
        row["image"] = {"bytes": _jpeg(np.full((40, 40, 3), 40 * place, np.uint8)), "path": None}
    features = random_dataset(1).features
    reference, other = Dataset.from_list(flat, features=features), random_dataset(6)
    score = GMMSim.fit(reference, tmp_path / "flat.npz", model=tiny_clip, dtype="fp32", components=4, dimensions=8)
    near, far = (add_scores(data, score)["gmm_sim"] for data in (reference, other))
    assert min(near) > max(far)


def test_the_encoder_pass_is_shared(fitted, tiny_clip, monkeypatch):
    """With it, `clip_sim` costs no pass of its own, and its numbers are the same to the last bit."""
    passes = []
    for name in ("encode", "encode_with_patches"):
        real = getattr(VisionTransformer, name)
        monkeypatch.setattr(VisionTransformer, name, _counting(real, name, passes))
    data, alone = random_dataset(4), ClipSim(model=tiny_clip, dtype="fp32")
    together = add_scores(data, alone, fitted)
    assert passes == ["encode_with_patches"]
    assert list(together["clip_sim"]) == list(add_scores(data, alone)["clip_sim"])
    passes.clear()
    with_shuffles = add_scores(data, PCS(model=tiny_clip, dtype="fp32", orders=1), fitted)
    assert passes.count("encode_with_patches") == 1
    assert passes.count("encode") == 3
    assert list(with_shuffles["gmm_sim"]) == list(together["gmm_sim"])


def test_scores_follow_the_settings_of_the_fit(fitted, tiny_clip, tmp_path):
    data = random_dataset(4)
    options = {"elements": "image", "components": 2, "resolution": 64, "model": tiny_clip, "dtype": "fp32"}
    with pytest.warns(UserWarning, match="at most 1 are fitted"):
        whole = GMMSim.fit(random_dataset(8), tmp_path / "whole", **options)
    assert whole.fitted.endswith("whole.npz")
    median = GMMSim(**{**fitted.values(), "agg": "median"})
    values = [add_scores(data, score)["gmm_sim"] for score in (fitted, whole, median)]
    assert len({tuple(value) for value in values}) == 3
    assert np.isfinite(values).all()


def test_the_same_fit_is_the_same_file(tiny_clip, tmp_path):
    options = {"model": tiny_clip, "dtype": "fp32", "components": 4, "dimensions": 8, "max_elements": 100}
    first, again, other = (
        GMMSim.fit(random_dataset(8), tmp_path / f"{place}.npz", seed=seed, **options)
        for place, seed in enumerate((0, 0, 1))
    )
    digests = [score.identity()["fitted_digest"] for score in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]
    assert load_statistics(first.fitted, "gmm_sim").about["elements"] == 96  # 12 of each of 8 images


def test_the_manifest_names_the_fitted_model(fitted, tmp_path):
    table = score_table(random_dataset(4), [fitted], tmp_path / "scores")
    described = table.manifest["fitted"]["gmm_sim"]
    assert described["sha256"] == fitted.identity()["fitted_digest"]
    assert described["components"] == 4
    assert json.loads((tmp_path / "scores" / "manifest.json").read_text())["scores"][1]["fitted"] == fitted.fitted


def test_a_moved_model_is_the_same_request(fitted, tmp_path):
    copy = tmp_path / "moved.npz"
    shutil.copy(fitted.fitted, copy)
    score_table(random_dataset(4), [fitted], tmp_path / "scores")
    moved = GMMSim(**{**fitted.values(), "fitted": str(copy)})
    assert score_table(random_dataset(4), [moved], tmp_path / "scores").manifest["complete"]


def test_errors_say_what_to_do(fitted, tiny_clip, other_clip, tmp_path):
    with pytest.raises(ValueError, match=r"write one with GMMSim.fit\(dataset, 'gmm_sim.npz'\)"):
        add_scores(random_dataset(2), GMMSim(model=tiny_clip))
    with pytest.raises(ValueError, match=r"no fitted model nowhere.npz: give `fitted` the path of a file"):
        GMMSim(model=tiny_clip, fitted="nowhere.npz").identity()
    with pytest.raises(ValueError, match="fitted with other weights than those of the model"):
        GMMSim(model=other_clip, fitted=fitted.fitted).identity()
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"broken.npz is no fitted model of sds-hf or is damaged; fit it again"):
        GMMSim(model=tiny_clip, fitted=str(tmp_path / "broken.npz")).identity()
    other = save_statistics(tmp_path / "other.npz", "leakage", {})
    with pytest.raises(ValueError, match="was fitted for the score 'leakage'"):
        GMMSim(model=tiny_clip, fitted=str(other)).identity()


def test_a_pickle_in_the_file_is_not_opened(tiny_clip, tmp_path):
    path = tmp_path / "pickled.npz"
    np.savez(path, about=np.array(json.dumps({"kind": "gmm_sim"})), means=np.array([{"a": 1}], object))
    with pytest.raises(ValueError, match="holds pickled objects, which can run code and are not opened; fit it again"):
        GMMSim(model=tiny_clip, fitted=str(path)).identity()


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(ModuleNotFoundError, match=r'this needs scikit-learn: pip install "sds-hf\[selectors\]"'):
        fit_elements(np.eye(4, dtype=np.float32))


def test_rows_that_cannot_be_read_are_left_out(tiny_clip, tmp_path, caplog):
    rows = [random_row(index) for index in range(4)]
    rows[1]["image"] = {"bytes": b"broken", "path": "a.jpg"}
    data = Dataset.from_list(rows, features=random_dataset(1).features)
    options = {"model": tiny_clip, "dtype": "fp32", "components": 2}
    score = GMMSim.fit(data, tmp_path / "some.npz", **options)
    assert load_statistics(score.fitted, "gmm_sim").about["images"] == 3
    assert "1 rows of the reference set cannot be read" in caplog.text
    with pytest.raises(ValueError, match=r"no row of the reference set can be read, e.g. image a.jpg"):
        GMMSim.fit(data.select([1]), tmp_path / "none.npz", **options)


def test_patches_are_those_of_transformers(tiny_clip):
    from sds_hf.clip.encoder import load

    encoder = load(tiny_clip, torch.device("cpu"), resolve_dtype("fp32", torch.device("cpu")))
    pixels = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    features, patches = encoder.vit.encode_with_patches(pixels)
    with torch.no_grad():
        hidden = encoder.model.vision_model(pixels).last_hidden_state
        expected = encoder.model.visual_projection(encoder.model.vision_model.post_layernorm(hidden[:, 1:]))
    assert patches.shape == (2, 36, 16)
    assert torch.allclose(patches, expected, atol=1e-4)
    assert torch.equal(features, encoder.vit.encode(pixels))


def _counting(real, name, passes):
    def call(*args, **kwargs):
        passes.append(name)
        return real(*args, **kwargs)

    return call


def _jpeg(image):
    from sds_hf.data.images import encode_jpeg

    return encode_jpeg(image)
