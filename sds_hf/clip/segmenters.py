"""The one place that loads models that segment: SAM 3, which is asked for classes, and others that know no classes.

Weights are read from safetensors only and no code of a checkpoint is run.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.clip.checkpoints import OTHER_WAY_OUT, ModelFiles, ModelNotFoundError, model_files, reason_of
from sds_hf.clip.preprocessing import Preprocessing, normalize, resize, upload

UNIVERSAL = ("mask2former", "maskformer", "eomt", "eomt_dinov3")  # one pass gives masks of queries
SURE = 0.5  # from which a query, or the presence of a class, counts
POINTS = 16  # a side of the grid that SAM 2 is asked at
POINTS_AT_ONCE = 64
TEXT_LENGTH = 32  # tokens that SAM 3 was trained on

T = TypeVar("T")
_loaded: dict[tuple[str, str, str, str], Any] = {}
_lock = threading.Lock()


class Sam3:
    """SAM 3 on one device, asked for a class by its name.

    Attributes:
        model: `transformers.Sam3Model`, in evaluation mode.
        device, dtype: where and how it computes.
    """

    def __init__(self, checkpoint: ModelFiles, device: torch.device, dtype: torch.dtype) -> None:
        from transformers import AutoTokenizer

        self.device, self.dtype = device, dtype
        self.model = _model("Sam3Model", checkpoint, device, dtype)
        self.tokenizer: Any = _from_folder(AutoTokenizer, checkpoint)
        side = self.model.config.vision_config.image_size
        self.preprocessing = Preprocessing.read(checkpoint.folder, side, "sam3")
        self._tokens: dict[str, dict[str, Tensor]] = {}

    @torch.inference_mode()
    def look(self, pixels: Tensor) -> Any:
        """What its vision encoder makes of a picture, (1, 3, H, W) uint8, for any number of `find`."""
        inputs = _inputs(pixels, self.preprocessing).to(self.dtype)
        return self.model.get_vision_features(pixel_values=inputs)

    @torch.inference_mode()
    def find(self, seen: Any, prompt: str) -> Tensor:
        """Where a class is: probabilities (h, w) float32; none where it is rather not in the picture."""
        output = self.model(vision_embeds=seen, **self._tokenized(prompt))
        presence = output.presence_logits.float().sigmoid().view(())
        probabilities: Tensor = output.semantic_seg.float().sigmoid()[0, 0]
        return probabilities if float(presence) >= SURE else torch.zeros_like(probabilities)

    def _tokenized(self, prompt: str) -> dict[str, Tensor]:
        if prompt not in self._tokens:
            options = {"padding": "max_length", "truncation": True, "max_length": TEXT_LENGTH, "return_tensors": "pt"}
            encoded = self.tokenizer(prompt, **options)
            self._tokens[prompt] = {n: encoded[n].to(self.device) for n in ("input_ids", "attention_mask")}
        return self._tokens[prompt]


class QuerySegmenter:
    """Regions by Mask2Former, MaskFormer or EoMT: what they are sure of, whatever they call it. One pass a picture."""

    def __init__(self, checkpoint: ModelFiles, device: torch.device) -> None:
        from transformers import AutoImageProcessor

        self.device = device
        self.model = _model("AutoModelForUniversalSegmentation", checkpoint, device, torch.float32)
        self.processor: Any = _from_folder(AutoImageProcessor, checkpoint)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Regions of a picture, (H, W, 3) uint8: (H, W) int64, numbers from 0."""
        inputs = self.processor(images=image, return_tensors="pt").to(self.device)
        outputs = self.model(**{name: inputs[name] for name in ("pixel_values", "pixel_mask") if name in inputs})
        (panoptic,) = self.processor.post_process_panoptic_segmentation(
            outputs, threshold=SURE, overlap_mask_area_threshold=0.0, target_sizes=[image.shape[:2]]
        )
        numbers = panoptic["segmentation"].cpu().numpy()
        taken = [segment["id"] for segment in panoptic["segments_info"]]
        return complete([numbers == number for number in taken], image.shape[:2])


class PointSegmenter:
    """Regions by SAM 2, asked at a grid of points; of masks that overlap the smallest is on top. One vision pass."""

    def __init__(self, checkpoint: ModelFiles, device: torch.device) -> None:
        self.device = device
        self.model = _model("Sam2Model", checkpoint, device, torch.float32)
        self.preprocessing = Preprocessing.read(
            checkpoint.folder, self.model.config.prompt_encoder_config.image_size, "sam2"
        )

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Regions of a picture, (H, W, 3) uint8: (H, W) int64, numbers from 0."""
        inputs = _inputs(upload([image], self.device), self.preprocessing)
        seen = self.model.get_image_embeddings(pixel_values=inputs)
        ticks = (torch.arange(POINTS, device=self.device) + 0.5) / POINTS
        height, width = inputs.shape[-2:]
        points = torch.cartesian_prod(ticks * width, ticks * height)[None, :, None]
        masks: list[Tensor] = []
        for part in torch.split(points, POINTS_AT_ONCE, 1):
            output = self.model(image_embeddings=list(seen), input_points=part, multimask_output=True)
            best = output.iou_scores[0].argmax(1)
            rows = torch.arange(len(best), device=self.device)
            sure = output.iou_scores[0][rows, best] >= SURE
            masks.append(output.pred_masks[0][rows, best][sure])
        large = F.interpolate(torch.cat(masks)[:, None].float(), size=image.shape[:2], mode="bilinear")[:, 0] > 0
        return complete([mask for mask in large.cpu().numpy() if mask.any()], image.shape[:2])


def complete(masks: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Regions that cover a picture: the masks, smaller ones over larger ones, and each connected part of the rest.

    Args:
        masks: (H, W) bool each.
        shape: H and W.

    Returns:
        (H, W) int64, numbers from 0.
    """
    from scipy import ndimage

    numbers = np.zeros(shape, np.int64)
    for number, mask in enumerate(sorted(masks, key=np.count_nonzero, reverse=True), 1):
        numbers[mask] = number
    rest, _ = ndimage.label(numbers == 0)
    numbers[rest > 0] = rest[rest > 0] + len(masks)
    return np.unique(numbers, return_inverse=True)[1].reshape(shape)


def load_sam3(model: str, device: torch.device, dtype: torch.dtype) -> Sam3:
    """SAM 3, loaded once a process for each checkpoint, device and dtype.

    Raises:
        ModelNotFoundError: if it cannot be had.
    """
    checkpoint = model_files(model, OTHER_WAY_OUT)
    return _once("sam3", checkpoint, device, dtype, lambda: Sam3(checkpoint, device, dtype))


def load_segmenter(model: str, device: torch.device) -> Callable[[np.ndarray], np.ndarray]:
    """A model that cuts pictures into regions, loaded once a process for each checkpoint and device.

    Raises:
        ModelNotFoundError: if it cannot be had or is of no kind that is known here.
    """
    checkpoint = model_files(model, OTHER_WAY_OUT, with_texts=False)
    kind = segmenter_kind(checkpoint)
    return _once("regions", checkpoint, device, torch.float32, lambda: kind(checkpoint, device))


def segmenter_kind(checkpoint: ModelFiles) -> type[QuerySegmenter] | type[PointSegmenter]:
    """How regions come from a checkpoint.

    Raises:
        ModelNotFoundError: if it is of no kind that is known here.
    """
    from transformers import AutoConfig

    kind = str(_from_folder(AutoConfig, checkpoint).model_type)
    if kind in UNIVERSAL:
        return QuerySegmenter
    if kind in ("sam2", "sam2_video"):
        return PointSegmenter
    raise ModelNotFoundError(
        f"model {checkpoint.name!r} is of the kind {kind}; regions come from a model of the kinds "
        f"{', '.join(UNIVERSAL)} or sam2, or from superpixels"
    )


def _once(role: str, checkpoint: ModelFiles, device: torch.device, dtype: torch.dtype, load: Callable[[], T]) -> T:
    key = (role, checkpoint.digest, str(device), str(dtype))
    with _lock:
        if key not in _loaded:
            _loaded[key] = load()
        model: T = _loaded[key]
        return model


def _model(name: str, checkpoint: ModelFiles, device: torch.device, dtype: torch.dtype) -> Any:
    import transformers

    if not hasattr(transformers, name):
        raise ModelNotFoundError(
            f"transformers {transformers.__version__} has no {name}, which {checkpoint.name!r} needs: "
            "pip install -U transformers"
        )
    weights = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
    model, loaded = _from_folder(getattr(transformers, name), checkpoint, **weights)
    if missing := sorted(loaded["missing_keys"]):  # transformers would fill them with random numbers
        raise ModelNotFoundError(
            f"model {checkpoint.name!r} lacks {len(missing)} of its weights, e.g. {missing[0]}; {OTHER_WAY_OUT}"
        )
    return model.to(device).eval().requires_grad_(False)


def _from_folder(kind: Any, checkpoint: ModelFiles, **options: Any) -> Any:
    try:
        return kind.from_pretrained(str(checkpoint.folder), local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:  # broken files and foreign architectures fail in many ways
        raise ModelNotFoundError(
            f"cannot load model {checkpoint.name!r} from {checkpoint.folder} ({reason_of(error)}); {OTHER_WAY_OUT}"
        ) from error


def _inputs(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(B, 3, H, W) uint8 -> normalised, resized to the one size that the model sees."""
    resized = resize(pixels, preprocessing.size, preprocessing.resample)
    return normalize(resized, preprocessing.mean, preprocessing.std)
