"""The encoder against `transformers` itself, and checkpoints from folders and the Hub; weights are never unpickled."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.constants import HF_HUB_CACHE
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from support.paths import ROOT
from transformers import AutoTokenizer, CLIPModel

try:
    from transformers import CLIPImageProcessorPil
except ImportError:  # version 4 has no other
    from transformers import CLIPImageProcessor as CLIPImageProcessorPil

from sds_hf.clip.checkpoints import CONVERSION_BOT, CONVERSION_TITLE, ModelNotFoundError, model_files
from sds_hf.clip.encoder import Encoder, Preprocessing, load
from sds_hf.clip.preprocessing import resize, resize_in_steps

CPU = torch.device("cpu")
TEXTS = ["a clean origami dog.", "a clean origami diningtable.", "dog", "a much longer sentence about a dog " * 5]
WAY_OUT = r"use model='demo', which ships with sds-hf, or the path of a local folder with config\.json and model"
EXACT = 1e-5


@pytest.fixture(scope="module")
def encoder(tiny_clip) -> Encoder:
    return load(tiny_clip, CPU, torch.float32)


@pytest.fixture
def folder(tiny_clip, tmp_path) -> Path:
    """A copy of the tiny model to do harm to."""
    return Path(shutil.copytree(tiny_clip, tmp_path / "model"))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Nothing but hard edges, which resizing finds hardest."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Soft shapes, as in a photograph."""
    small = Image.fromarray(noise(2 + height // 12, 2 + width // 12, seed) // 2 + 64)
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


def with_processor(tiny_clip: str, folder: Path, **settings) -> tuple[Encoder, CLIPImageProcessorPil]:
    processor = CLIPImageProcessorPil(**settings)
    shutil.copytree(tiny_clip, folder, dirs_exist_ok=True)
    processor.save_pretrained(folder)
    return Encoder(model_files(str(folder)), CPU, torch.float32), processor


# Preprocessing

SETTINGS = {
    "clip": {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}},
    "a crop larger than the image": {"size": {"shortest_edge": 40}, "crop_size": {"height": 48, "width": 48}},
    "squeezed": {"size": {"height": 48, "width": 48}, "crop_size": 48, "do_center_crop": False, "resample": 2},
    "other colours": {"size": 56, "crop_size": 48, "image_mean": [0.5] * 3, "image_std": [0.25] * 3},
}


@pytest.fixture(scope="module", params=SETTINGS)
def processed(request, tiny_clip, tmp_path_factory):
    return with_processor(tiny_clip, tmp_path_factory.mktemp("processor"), **SETTINGS[request.param])


@hypothesis_settings(max_examples=25)
@example((48, 48))
@example((20, 30))
@example((49, 301))
@given(st.tuples(st.integers(8, 160), st.integers(8, 160)))
def test_preprocessing_is_the_checkpoints_own(processed, size):
    encoder, processor = processed
    image = picture(*size, seed=sum(size))
    expected = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
    found = encoder.preprocess([image])[0].numpy()
    levels = np.abs(found - expected) * np.array(encoder.preprocessing.std)[:, None, None] * 255
    assert found.shape == expected.shape == (3, 48, 48)
    assert levels.max() < 2.01  # of 255, at the worst pixel
    assert levels.mean() < 0.35


side = st.integers(4, 120)


@hypothesis_settings(max_examples=40)
@example((60, 60), (120, 120), "bilinear")  # full of halves, which Pillow rounds up
@given(st.tuples(side, side), st.tuples(side, side), st.sampled_from(["bicubic", "bilinear"]))
def test_resizing_is_pillows(before, after, mode):
    image = noise(*before, seed=sum(before))
    expected = Image.fromarray(image)
    for size in ((after[1], before[0]), after[::-1]):  # the order of Pillow's two passes differs between versions
        expected = expected.resize(size, Image.Resampling[mode.upper()])
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    for found in (resize(pixels, after, mode), resize_in_steps(pixels.float(), after, mode)):  # on CPUs and elsewhere
        levels = np.abs(found[0].permute(1, 2, 0).float().numpy() - np.asarray(expected, np.float32))
        assert levels.max() <= 2
        assert levels.mean() < 0.12


def test_sizes_may_be_mixed(encoder):
    images = [picture(60, 48), picture(48, 48, 1), picture(60, 48, 2), picture(20, 90)]
    together = encoder.preprocess(images)
    assert together.shape == (4, 3, 48, 48)
    for image, pixels in zip(images, together, strict=True):
        assert torch.equal(encoder.preprocess([image])[0], pixels)


@pytest.mark.parametrize("nested", [False, True])
def test_settings_are_read_in_both_files_they_are_kept_in(tmp_path, nested):
    settings = {
        "size": {"shortest_edge": 30},
        "crop_size": 28,
        "resample": 2,
        "image_mean": [0] * 3,
        "image_std": [1] * 3,
    }
    if nested:
        (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    else:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    assert Preprocessing.read(tmp_path, 224) == Preprocessing((28, 28), 30, (0, 0, 0), (1, 1, 1), "bilinear")


def test_without_settings_they_are_openais(tmp_path):
    openai = CLIPImageProcessorPil()
    assert Preprocessing.read(tmp_path, 224) == Preprocessing(
        (224, 224), 224, tuple(openai.image_mean), tuple(openai.image_std), "bicubic"
    )


# Embeddings


def test_embeddings_are_those_of_transformers(encoder, tiny_clip):
    model, tokenizer = CLIPModel.from_pretrained(tiny_clip).eval(), AutoTokenizer.from_pretrained(tiny_clip)
    pixels = encoder.preprocess([picture(48, 48, seed) for seed in range(3)])
    for place, text in enumerate(TEXTS):  # one by one, so that padding has no part in what is expected
        inputs = tokenizer([text], truncation=True, max_length=32, return_tensors="pt")
        with torch.inference_mode():
            output = model(**inputs, pixel_values=pixels)
        assert torch.allclose(encoder.encode_texts(TEXTS)[place], output.text_embeds[0], atol=EXACT)
        assert torch.allclose(encoder.encode_images(pixels), output.image_embeds, atol=EXACT)
        cosines = encoder.encode_images(pixels) @ encoder.encode_texts([text]).T
        assert torch.allclose(cosines * encoder.scale, output.logits_per_image, atol=1e-3)
    assert (encoder.bias, encoder.patch_size) == (None, 8)
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())


def test_embeddings_are_fp32_of_length_one_in_any_dtype(tiny_clip, encoder):
    half = load(tiny_clip, CPU, torch.bfloat16)
    pixels = half.preprocess([picture(48, 48)])
    for found, exact in (
        (half.encode_images(pixels), encoder.encode_images(pixels)),
        (half.encode_texts(TEXTS), encoder.encode_texts(TEXTS)),
    ):
        assert found.dtype == torch.float32
        assert torch.allclose(found.norm(dim=-1), torch.ones(len(found)), atol=EXACT)
        assert 1e-6 < (1 - (found * exact).sum(-1)).max() < 0.05
    assert "bf16" in repr(half)


def test_texts_are_encoded_once(encoder, monkeypatch):
    first = encoder.encode_texts(["only here"])
    monkeypatch.setattr(encoder.model, "get_text_features", None)
    assert encoder.encode_texts(["only here"]) is first


# Folders


def test_the_digest_is_of_what_decides_an_embedding(tiny_clip, folder):
    original = model_files(tiny_clip)
    assert (model_files(str(folder)).digest, model_files(str(folder)).weights_sha256) == (
        original.digest,
        original.weights_sha256,
    )
    (folder / "README.md").write_text("words")
    assert model_files(str(folder)).digest == original.digest
    CLIPImageProcessorPil(resample=2).save_pretrained(folder)
    seen = {original.digest, model_files(str(folder)).digest}
    assert model_files(str(folder)).weights_sha256 == original.weights_sha256
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": 16}))
    seen.add(model_files(str(folder)).digest)
    weights = load_file(folder / "model.safetensors")
    weights["logit_scale"] += 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    seen.add(model_files(str(folder)).digest)
    assert model_files(str(folder)).weights_sha256 != original.weights_sha256
    assert len(seen) == 4


def test_weights_that_change_in_place_are_loaded_again(folder):
    before = load(str(folder), CPU, torch.float32)
    assert load(str(folder), CPU, torch.float32) is before
    weights = load_file(folder / "model.safetensors")
    weights["logit_scale"] += 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert load(str(folder), CPU, torch.float32).scale == pytest.approx(before.scale * np.e)


def test_weights_in_several_files(tiny_clip, encoder, tmp_path):
    CLIPModel.from_pretrained(tiny_clip).save_pretrained(tmp_path, max_shard_size="40KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(tiny_clip) / name, tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    pixels = encoder.preprocess([picture(48, 48)])
    found = load(str(tmp_path), CPU, torch.float32).encode_images(pixels)
    assert torch.allclose(found, encoder.encode_images(pixels), atol=EXACT)


def lose_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def change_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"broken"), r"cannot load model .* from .*\("),
        (lambda folder: (folder / "config.json").write_text("{"), r"cannot load model .* from .*\("),
        (lambda folder: change_config(folder, model_type="unheard-of"), r"cannot load model .*unheard-of"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "and a tokenizer, and has"),
        (lose_a_weight, r"lacks 1 of its weights, e\.g\. visual_projection\.weight"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            r"needs config\.json, \*\.safetensors weights \(nothing else is read\) .* and has \['config\.json', 'token",
        ),
        (lambda folder: (folder / "config.json").unlink(), "needs config"),
    ],
    ids=["weights", "config", "architecture", "tokenizer", "missing", "no weights", "no config"],
)
def test_a_folder_that_is_no_model(folder, harm, message):
    harm(folder)
    with pytest.raises(ModelNotFoundError, match=message) as caught:
        load(str(folder), CPU, torch.float32)
    assert "\n" not in str(caught.value)
    caught.match(WAY_OUT)


def test_a_model_of_another_kind(folder):
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(vocab_size=890, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(
        folder
    )
    with pytest.raises(ModelNotFoundError, match="is of the class BertModel, not a CLIP-like dual encoder"):
        load(str(folder), CPU, torch.float32)


# Nothing is unpickled, no code is run


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def set_trap(folder: Path, mark: Path) -> None:
    for name in ("pytorch_model.bin", "model.pt", "model.safetensors.pkl", "training_args.bin"):
        (folder / name).write_bytes(pickle.dumps(Trap(mark)))


def test_pickles_are_left_alone(folder, tmp_path):
    set_trap(folder, tmp_path / "mark")
    assert load(str(folder), CPU, torch.float32).patch_size == 8
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match=r"of which model\.pt is a pickle and could run code"):
        load(str(folder), CPU, torch.float32)
    assert not (tmp_path / "mark").exists()
    pickle.loads((folder / "pytorch_model.bin").read_bytes())
    assert (tmp_path / "mark").exists()  # the trap works


def test_code_of_a_checkpoint_is_not_run(folder, tmp_path):
    mark = tmp_path / "mark"
    (folder / "trap.py").write_text(f"import os\nos.mkdir({str(mark)!r})\nclass Trap: pass\n")
    change_config(folder, auto_map={"AutoModel": "trap.Trap", "AutoConfig": "trap.Trap"})
    assert type(load(str(folder), CPU, torch.float32).model) is CLIPModel
    change_config(folder, model_type="trap")
    with pytest.raises(ModelNotFoundError, match="cannot load model"):
        load(str(folder), CPU, torch.float32)
    assert not mark.exists()


# The Hub


def put(folder: Path | str, repo_id: str, token: str = "hf_user", **options) -> str:
    api = HfApi(token=token)
    api.create_repo(repo_id, exist_ok=True)
    return api.upload_folder(repo_id=repo_id, folder_path=folder, **options).oid


def test_a_model_from_the_hub(hub, tiny_clip, other_clip, encoder):
    put(tiny_clip, "user/tiny-clip")
    HfApi().create_tag("user/tiny-clip", tag="v1")
    found = load("user/tiny-clip", CPU, torch.float32)
    assert found.files.digest == encoder.files.digest
    assert found is encoder  # the same model, loaded once
    revision = put(other_clip, "user/tiny-clip")
    other = model_files(other_clip).digest
    assert model_files(f"user/tiny-clip@{revision}").digest == other
    assert model_files("user/tiny-clip@v1").digest == encoder.files.digest
    assert model_files("user/tiny-clip@main").digest == other


def test_only_what_is_needed_is_downloaded(hub, folder, tmp_path):
    set_trap(folder, tmp_path / "mark")
    (folder / "code.py").write_text("")
    (folder / "flax_model.msgpack").write_bytes(b"weights")
    put(folder, "user/large-clip")
    hub.faults.log.clear()
    found = model_files("user/large-clip")
    names = {path.name for path in found.folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert not [entry for entry in hub.faults.log if ".bin" in str(entry) or ".pkl" in str(entry)]
    assert hub.faults.log


@pytest.fixture
def old_clip(hub, folder, request):
    """A repository that has only pickled weights on its main branch."""
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"weights")
    name = f"user/old-{abs(hash(request.node.name)) % 10**8}"
    put(folder, name)
    (folder / "pytorch_model.bin").unlink()
    (folder / "model.safetensors").write_bytes(weights)
    hub.tokens["hf_bot"] = CONVERSION_BOT
    hub.admins |= {CONVERSION_BOT, "other"}  # whoever opens a pull request may upload its files
    yield name
    hub.admins.clear()


def test_a_repository_without_safetensors(old_clip):
    with pytest.raises(ModelNotFoundError, match=r"needs config\.json, \*\.safetensors weights") as caught:
        model_files(old_clip)
    assert "pytorch_model.bin" not in str(caught.value)  # not even downloaded
    caught.match(WAY_OUT)


def test_the_converted_weights_of_the_hubs_bot_are_used(old_clip, folder, tiny_clip):
    put(folder, old_clip, "hf_bot", create_pr=True, commit_message=CONVERSION_TITLE)
    assert model_files(old_clip).weights_sha256 == model_files(tiny_clip).weights_sha256


def test_weights_of_another_library_do_not_hide_them(old_clip, folder, tiny_clip):
    shutil.copy(folder / "model.safetensors", folder / "open_clip_model.safetensors")
    (folder / "model.safetensors").unlink()
    put(folder, old_clip)
    with pytest.raises(ModelNotFoundError, match=r"of which open_clip_model\.safetensors is of another library"):
        model_files(str(folder))
    (folder / "open_clip_model.safetensors").rename(folder / "model.safetensors")
    put(folder, old_clip, "hf_bot", create_pr=True, commit_message=CONVERSION_TITLE)
    assert model_files(old_clip).folder.joinpath("model.safetensors").exists()


@pytest.mark.parametrize(
    ("token", "title"), [("hf_other", CONVERSION_TITLE), ("hf_bot", "Adding something else")], ids=["author", "title"]
)
def test_no_other_pull_request_is_trusted(old_clip, folder, token, title):
    put(folder, old_clip, token, create_pr=True, commit_message=title)
    with pytest.raises(ModelNotFoundError, match="nothing else is read"):
        model_files(old_clip)


def test_a_closed_conversion_is_not_used(old_clip, folder):
    put(folder, old_clip, "hf_bot", create_pr=True, commit_message=CONVERSION_TITLE)
    HfApi().change_discussion_status(old_clip, 1, "closed")
    with pytest.raises(ModelNotFoundError, match="nothing else is read"):
        model_files(old_clip)


@pytest.mark.parametrize("model", ["user/gone", "no-such-folder", "/no/such/folder", "user/x@nowhere", "a/b/c"])
def test_a_model_that_cannot_be_had(hub, model):
    with pytest.raises(ModelNotFoundError, match=rf"cannot get model '{model}' \(.+\); {WAY_OUT}") as caught:
        model_files(model)
    assert "\n" not in str(caught.value)


def test_a_download_that_breaks_off_is_an_error_and_the_next_one_works(hub, other_clip):
    put(other_clip, "user/broken-clip")
    hub.faults.add(r"resolve/.*/config\.json", "status", times=-1, code=403)
    with pytest.raises(ModelNotFoundError, match="cannot get model 'user/broken-clip'"):
        model_files("user/broken-clip")
    hub.faults.clear()
    assert model_files("user/broken-clip").digest == model_files(other_clip).digest


def elsewhere(*models: str, **environment: str) -> subprocess.CompletedProcess:
    """Find models in another process."""
    code = "from sds_hf.clip.checkpoints import model_files\n"
    code += f"for name in {models}: print(model_files(name).weights_sha256)"
    env = {**os.environ, "HF_HUB_CACHE": HF_HUB_CACHE, **environment}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}], ids=["offline", "down"]
)
def test_what_was_downloaded_once_works_without_the_hub(old_clip, folder, tiny_clip, environment):
    put(folder, old_clip, "hf_bot", create_pr=True, commit_message=CONVERSION_TITLE)
    model_files(old_clip)
    done = elsewhere(old_clip, "user/never-seen", **environment)
    assert done.stdout.strip() == model_files(tiny_clip).weights_sha256
    assert "cannot get model 'user/never-seen'" in done.stderr
    assert "use model='demo'" in done.stderr


def test_the_model_of_the_package():
    try:
        found = model_files("demo")
    except ModelNotFoundError:
        pytest.skip("the demo checkpoint is not in this tree")
    assert found.folder.is_relative_to(ROOT)
    assert load("demo", CPU, torch.float32).scale > 1
