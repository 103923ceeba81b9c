"""The one place here that loads `transformers`: vision models as frozen backbones, and segmenters by name."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sds_hf.data.labels import IGNORE_INDEX
from sds_hf.files import sha256_of
from sds_hf.prove.segmenters.deeplab import dilate
from sds_hf.prove.segmenters.networks import Segmenter, pixel_loss

WEIGHTS, CONFIG = "*.safetensors", "config.json"
FINEST = 4  # the finest stride that a decoder looks at
ARCHITECTURES = {  # by the names a user gives: kind of the configuration, and settings of the smallest usual model
    "segformer": ("segformer", {}),
    "deeplabv3+": ("mobilenet_v2", {}),
    "upernet": ("upernet", {}),
    "mask2former": ("mask2former", {}),
    "resnet": ("resnet", {}),
}
ON_BACKBONES = ("mask2former", "upernet")  # take any backbone of four stages: `mask2former:microsoft/resnet-50`
STAGES = ["stage1", "stage2", "stage3", "stage4"]
MASKS_KINDS = ("mask2former", "maskformer")  # predict masks with a class each, not a class a pixel


class ModelError(ValueError):
    """A vision model that cannot be had; the message says what can."""


@dataclass(frozen=True)
class VisionFiles:
    """A checkpoint, or a configuration without weights, on this machine.

    Attributes:
        name: what was asked for.
        folder: where it lies; None for an architecture by name.
        digest: of configuration and weights.
        has_weights: whether there are any.
        mean, std: of RGB in [0, 1], as it was trained.
    """

    name: str
    folder: Path | None
    digest: str
    has_weights: bool
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of RGB."""
        return self.mean, self.std


def vision_files(name: str) -> VisionFiles:
    """Find a vision model.

    Args:
        name: `demo`, a folder with `config.json` (without weights they are random), a Hub id, or one of
            `ARCHITECTURES` for random weights.

    Raises:
        ModelError: if there is none.
    """
    if name in ARCHITECTURES:
        return VisionFiles(name, None, f"random weights of {name}", has_weights=False)
    folder = Path(str(files("sds_hf") / "demo" / "clip")) if name == "demo" else Path(name).expanduser()
    if not folder.is_dir():
        folder = _download(name)
    if not (folder / CONFIG).exists():
        raise ModelError(f"model {name!r} has no {CONFIG} in {folder}; give a folder of `save_pretrained` or a Hub id")
    weights = sorted(folder.glob(WEIGHTS))
    digests = {path.name: sha256_of(path) for path in [folder / CONFIG, *weights]}
    seen = _processor(folder)
    return VisionFiles(
        name,
        folder,
        json.dumps(digests),
        bool(weights),
        **{key: tuple(seen[f"image_{key}"]) for key in ("mean", "std") if f"image_{key}" in seen},
    )


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    if name.startswith((".", "/")) or name.count("/") != 1:
        options = ["efficientnet-lite0", "demo", "unet", *ARCHITECTURES]
        raise ModelError(f"no model {name!r}: give a folder, a Hub id, or one of {options}")
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", WEIGHTS]))
    except Exception as error:  # whatever the network, the Hub or its cache came up with
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"cannot get model {name!r} ({reason}); give a folder with config.json and weights") from error


def _processor(folder: Path) -> dict[str, Any]:
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).exists():
            data: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
            return data.get("image_processor", data)
    return {}


class Backbone(nn.Module):
    """A vision model of `transformers`, frozen, as levels of features: its last maps of each resolution.

    Of a model of one resolution, such as a ViT, also those of half its depth, which know better where things are.
    """

    def __init__(self, checkpoint: VisionFiles) -> None:
        from transformers import AutoModel

        super().__init__()
        try:
            model: Any = AutoModel.from_pretrained(
                str(checkpoint.folder), local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        except Exception as error:
            raise _not_loaded(checkpoint, error) from error
        self.model: Any = getattr(model, "vision_model", model)
        config = self.model.config
        self.side: int | None = config.image_size if isinstance(getattr(config, "image_size", None), int) else None
        self.patch: int | None = getattr(config, "patch_size", None)

    def forward(self, pixels: Tensor) -> Sequence[Tensor]:
        """Levels of features, finest first.

        Args:
            pixels: (B, 3, S, S) float32, normalised.
        """
        output = self.model(pixel_values=pixels, output_hidden_states=True)
        hidden = getattr(output, "reshaped_hidden_states", None) or output.hidden_states
        maps = [_as_map(states, pixels.shape[-1], self.patch) for states in hidden]
        last = {features.shape[-1]: features for features in maps if pixels.shape[-1] // features.shape[-1] >= FINEST}
        if len(last) == 1:
            return [torch.cat([maps[len(maps) // 2], maps[-1]], 1)]
        return [last[side] for side in sorted(last, reverse=True)[:4]]


def _as_map(hidden: Tensor, side: int, patch: int | None) -> Tensor:
    """Hidden states as maps (B, C, h, w): tokens in a square, without those before them that stand for no place."""
    if hidden.ndim == 4:
        return hidden
    count = hidden.shape[1]
    cells = side // patch if patch and (side // patch) ** 2 <= count else int(count**0.5)
    return hidden[:, count - cells**2 :].transpose(1, 2).unflatten(2, (cells, cells))


class SemanticSegmenter(Segmenter):
    """A model that says a class for each pixel: SegFormer, UPerNet, MobileNetV2-DeepLabV3+ and others."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def scores(self, inputs: Tensor) -> Tensor:
        """See `Segmenter.scores`; inputs are pixels (B, 3, H, W), normalised."""
        scores: Tensor = self.model(pixel_values=inputs).logits
        return scores

    def loss(self, inputs: Tensor, masks: Tensor) -> Tensor:
        """See `Segmenter.loss`; with the auxiliary head where the model has one."""
        if getattr(self.model.config, "use_auxiliary_head", False):
            loss: Tensor = self.model(pixel_values=inputs, labels=masks).loss
            return loss
        return pixel_loss(self.scores(inputs), masks)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """See `Segmenter.backbone_parameters`."""
        inner = getattr(self.model, "backbone", None) or getattr(self.model, self.model.base_model_prefix, None)
        return list(inner.parameters()) if isinstance(inner, nn.Module) else []


class MaskSegmenter(Segmenter):
    """A model that predicts masks with a class each: Mask2Former."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def scores(self, inputs: Tensor) -> Tensor:
        """See `Segmenter.scores`: the sum of the masks, each as far as it is of the class."""
        output = self.model(pixel_values=inputs)
        classes = output.class_queries_logits.float().softmax(-1)[..., :-1]
        return torch.einsum("bqc,bqhw->bchw", classes, output.masks_queries_logits.float().sigmoid())

    def loss(self, inputs: Tensor, masks: Tensor) -> Tensor:
        """See `Segmenter.loss`: the model's own, of masks and classes that it matches with those of each row."""
        present = [mask.unique() for mask in masks]
        present = [ids[ids != IGNORE_INDEX] for ids in present]
        shapes = [(mask[None] == ids[:, None, None]).to(inputs.dtype) for mask, ids in zip(masks, present, strict=True)]
        loss: Tensor = self.model(pixel_values=inputs, mask_labels=shapes, class_labels=present).loss
        return loss

    def backbone_parameters(self) -> list[nn.Parameter]:
        """See `Segmenter.backbone_parameters`."""
        return [weight for name, weight in self.model.named_parameters() if ".encoder." in name]


def transformers_segmenter(checkpoint: VisionFiles, classes: int) -> Segmenter:
    """A segmenter of `transformers` for so many classes; a head that was trained for others is made anew.

    Raises:
        ModelError: if it cannot be loaded or is no segmenter.
    """
    from transformers import AutoConfig, AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation

    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        if checkpoint.folder is None:
            kind, settings = ARCHITECTURES[checkpoint.name]
            config = AutoConfig.for_model(kind, **settings, num_labels=classes)
        else:
            config = AutoConfig.from_pretrained(str(checkpoint.folder), num_labels=classes, **options)
        masks = config.model_type in MASKS_KINDS
        auto: Any = AutoModelForUniversalSegmentation if masks else AutoModelForSemanticSegmentation
        if checkpoint.has_weights:
            weights = {"config": config, "use_safetensors": True, "ignore_mismatched_sizes": True}
            model = auto.from_pretrained(str(checkpoint.folder), **weights, **options)
        else:
            model = auto.from_config(config)
    except Exception as error:  # foreign architectures fail in many ways
        raise _not_loaded(checkpoint, error) from error
    return MaskSegmenter(model) if masks else SemanticSegmenter(model)


def segmenter_on(kind: str, checkpoint: VisionFiles, classes: int) -> Segmenter:
    """A segmenter with random weights on a backbone, with those it was trained to if there are any.

    Args:
        kind: one of `ON_BACKBONES`.
        checkpoint: of the backbone, e.g. `microsoft/resnet-50`.
        classes: number of classes.

    Raises:
        ModelError: if they cannot be loaded or do not go together.
    """
    from transformers import AutoConfig, AutoModelForSemanticSegmentation
    from transformers import AutoModelForUniversalSegmentation as AutoModelForMasks

    options = {"out_features": STAGES, "local_files_only": True, "trust_remote_code": False}
    try:
        inner = AutoConfig.from_pretrained(str(checkpoint.folder), **options)
        own = {"auxiliary_in_channels": inner.hidden_sizes[-2]} if kind == "upernet" else {}
        config = AutoConfig.for_model(kind, backbone_config=inner, num_labels=classes, **own)
        model: Any = (AutoModelForMasks if kind in MASKS_KINDS else AutoModelForSemanticSegmentation).from_config(
            config
        )
        if checkpoint.has_weights:
            encoder = model.model.pixel_level_module.encoder if kind in MASKS_KINDS else model.backbone
            # Not by `AutoBackbone`, which asks the Hub about folders.
            weights = type(encoder).from_pretrained(str(checkpoint.folder), use_safetensors=True, **options)
            encoder.load_state_dict(weights.state_dict())
    except Exception as error:  # foreign architectures fail in many ways
        raise _not_loaded(checkpoint, error) from error
    return MaskSegmenter(model) if kind in MASKS_KINDS else SemanticSegmenter(model)


class ResNet(nn.Module):
    """The last two stages of a ResNet of `transformers`, at stride 8."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        dilate(model.encoder.stages)
        self.model = model

    def forward(self, pixels: Tensor) -> Sequence[Tensor]:
        """Maps of the last two stages.

        Args:
            pixels: (B, 3, H, W), normalised.
        """
        hidden = self.model(pixel_values=pixels, output_hidden_states=True).hidden_states
        return [hidden[-2], hidden[-1]]


def resnet(checkpoint: VisionFiles) -> tuple[nn.Module, tuple[int, int]]:
    """A ResNet as `DeepLabV3` needs it, and the channels of its last two stages.

    Raises:
        ModelError: if it cannot be loaded or is none.
    """
    from transformers import ResNetConfig, ResNetModel

    try:
        if checkpoint.folder is None:
            model: Any = ResNetModel(ResNetConfig())
        elif checkpoint.has_weights:
            options = {"local_files_only": True, "use_safetensors": True}
            model = ResNetModel.from_pretrained(str(checkpoint.folder), **options)
        else:
            model = ResNetModel(ResNetConfig.from_pretrained(str(checkpoint.folder)))
    except Exception as error:
        raise _not_loaded(checkpoint, error) from error
    before, last = model.config.hidden_sizes[-2:]
    return ResNet(model), (before, last)


def _not_loaded(checkpoint: VisionFiles, error: Exception) -> ModelError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelError(f"cannot load model {checkpoint.name!r} ({reason})")


def resized(pixels: Tensor, side: int) -> Tensor:
    """Pixels (B, 3, H, W) float32 as squares of this side."""
    if pixels.shape[-2:] == (side, side):
        return pixels
    return F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
