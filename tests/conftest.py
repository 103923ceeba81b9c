"""Shared fixtures: a Hub server, tiny models with random weights, and small datasets. Nothing here needs a network."""

import os
import tempfile

# Both libraries read these when they are imported, so they come first.
_HOME = tempfile.mkdtemp(prefix="sds-hf-tests-")
os.environ.update(
    HF_HOME=f"{_HOME}/hf",
    XDG_CACHE_HOME=f"{_HOME}/cache",
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_UPDATE_DOWNLOAD_COUNTS="0",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    TQDM_DISABLE="1",
    TOKENIZERS_PARALLELISM="false",
)

from minihub import MiniHub  # noqa: E402

HUB = MiniHub(f"{_HOME}/hub", tokens={"hf_user": "user", "hf_other": "other"}).start()
os.environ.update(HF_ENDPOINT=HUB.url, HF_TOKEN="hf_user")

import inspect  # noqa: E402
import shutil  # noqa: E402
from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402

from sds_hf.data.folder import row_features  # noqa: E402
from sds_hf.data.images import encode_jpeg, encode_mask  # noqa: E402
from sds_hf.data.labels import VOC  # noqa: E402

# A busy machine is no failure, and a change is judged by the same examples every time; EXPLORE=1 draws others.
hypothesis.settings.register_profile("tests", deadline=None, derandomize="EXPLORE" not in os.environ)
hypothesis.settings.load_profile("tests")

SHARED = Path(__file__).parents[2] / "shared"
DEMO_CLIP = Path(__file__).parents[1] / "sds_hf" / "demo" / "clip"


@pytest.fixture(scope="session", autouse=True)
def _clean_up():
    yield
    HUB.stop()
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture
def hub():
    """The Hub server, without faults and with an empty log."""
    HUB.faults.clear()
    HUB.faults.log.clear()
    yield HUB
    HUB.faults.clear()


def make_clip(folder: Path, seed: int = 0, image_size: int = 48, patch: int = 8, **vision) -> Path:
    """A CLIP of random weights with the demo's tokenizer, saved in a folder."""
    from transformers import CLIPConfig, CLIPModel

    ids = {"bos_token_id": 888, "eos_token_id": 889, "pad_token_id": 889}
    text = {"vocab_size": 890, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 32, **ids}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
              "image_size": image_size, "patch_size": patch, **vision}  # fmt: skip
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()
    with torch.no_grad():  # the usual initialisation is so small that all images look alike
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
        model.logit_scale.fill_(np.log(20))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO_CLIP / name, folder / name)
    return folder


def block_and_tokens(layer, hidden):
    """What a block of `transformers` makes of tokens, and the output of its first LayerNorm, to take a gradient at."""
    seen = {}

    def keep(module, inputs, output):
        seen["tokens"] = output.detach().requires_grad_(True)
        return seen["tokens"]

    known = inspect.signature(layer.forward).parameters
    masks = {name: None for name in ("attention_mask", "causal_attention_mask") if name in known}  # of old and new
    with layer.layer_norm1.register_forward_hook(keep):
        output = layer(hidden, **masks)
    return (output[0] if isinstance(output, tuple) else output), seen["tokens"]


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> str:
    """Path of a random CLIP: images of 48 pixels, patches of 8."""
    return str(make_clip(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="session")
def other_clip(tmp_path_factory) -> str:
    """The same architecture with other weights."""
    return str(make_clip(tmp_path_factory.mktemp("clip"), seed=1))


def random_row(index: int, height: int = 40, width: int = 40) -> dict:
    """A row with a noisy image and a mask of one to three rectangles."""
    rng = np.random.default_rng([7, index])
    image = rng.integers(0, 256, (height // 4, width // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    mask = np.zeros((height, width), np.uint8)
    for class_id in rng.choice(np.arange(1, 21), size=1 + index % 3, replace=False):
        y, x = rng.integers(0, height // 2), rng.integers(0, width // 2)
        mask[y : y + height // 3, x : x + width // 3] = class_id
    mask[0, : width // 4] = 255
    return {
        "id": f"row{index:03d}",
        "image": {"bytes": encode_jpeg(image), "path": f"row{index:03d}.jpg"},
        "mask": {"bytes": encode_mask(mask), "path": f"row{index:03d}.png"},
        "caption": f"a picture of thing {index}",
        "classes": [int(value) for value in np.unique(mask) if value not in (0, 255)],
        "class_prompt": None,
    }


def random_dataset(count: int = 12) -> Dataset:
    """Rows of two sizes in memory, VOC classes."""
    rows = [random_row(index, 40, 40 if index % 4 else 56) for index in range(count)]
    return Dataset.from_list(rows, features=row_features(VOC))


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Twelve rows in memory."""
    return random_dataset()


@pytest.fixture(scope="session")
def stored(dataset, tmp_path_factory) -> Path:
    """The same rows as a folder that `load_dataset` reads."""
    from sds_hf.data.folder import write_data_folder

    out = tmp_path_factory.mktemp("stored") / "rows"
    rows = dataset.with_format("arrow")[:].to_pylist()
    write_data_folder(rows, dataset.features, out)
    return out


@pytest.fixture(scope="session")
def job(tiny_clip, tmp_path_factory):
    """Twelve candidates, scored and selected; to be published, not to be changed."""
    from jobs import make_job

    return make_job(tiny_clip, tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="session")
def published(job, tmp_path_factory) -> Path:
    """The folder that the job publishes; to be read, or copied to be spoilt."""
    folder = tmp_path_factory.mktemp("out") / "published"
    job.publish(folder=folder)
    return folder
