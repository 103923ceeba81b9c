"""What judges that ask CLIP have in common: a pass of its vision tower over pictures of any size."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.clip.checkpoints import ModelNotFoundError
from sds_hf.clip.encoder import Encoder
from sds_hf.clip.preprocessing import resize
from sds_hf.clip.reference.settings import ReferenceSettings
from sds_hf.clip.similarity import present_softmax
from sds_hf.clip.stages import stage
from sds_hf.clip.vit import VisionTransformer

MAX_ATTENTION_BYTES = 256 << 20  # of one block's weights in a batch


class ClipJudge:
    """A judge that asks CLIP; see `Judge`.

    Args:
        encoder: a CLIP with a vision transformer.
        texts: (K + N, D) unit embeddings of the classes and the background prompts.
        settings: how.

    Raises:
        ModelNotFoundError: if the model has no such tower.
    """

    exclusive: bool

    def __init__(self, encoder: Encoder, texts: Tensor, settings: ReferenceSettings) -> None:
        self.encoder, self.texts, self.settings = encoder, texts, settings
        self.vit, self.device, self.scales = clip_tower(encoder), encoder.device, settings.scales

    def rows_at_once(self, height: int, width: int) -> int:
        """As many as keep the attention weights of a block within bounds."""
        rows, columns = _grid((height, width), self.vit.patch, max(self.scales))
        size: int = 4 * self.vit.heads * (1 + rows * columns) ** 2  # of one image's
        return max(1, MAX_ATTENTION_BYTES // size)

    def maps(self, pixels: Tensor, present: Tensor, scale: float) -> Iterator[tuple[Tensor, Tensor | None]]:
        """See `Judge.maps`."""
        raise NotImplementedError


class DenseJudge(ClipJudge):
    """A judge that compares the patches with the texts."""

    exclusive = True

    def patches(self, hidden: Tensor, grid: tuple[int, int]) -> Tensor:
        """The last block's output for the patches, (B, 1 + n, C) -> (B, n, C)."""
        raise NotImplementedError

    @torch.no_grad()
    def maps(self, pixels: Tensor, present: Tensor, scale: float) -> Iterator[tuple[Tensor, None]]:
        """For each image the probability of each of its classes among these and the background prompts."""
        pixels = to_whole_patches(self.encoder, pixels, scale)
        grid = pixels.shape[-2] // self.vit.patch, pixels.shape[-1] // self.vit.patch
        with stage("native encoder"):
            hidden, _ = self.vit.before_last(pixels, self.settings.position)
        features = F.normalize(self.vit.project(self.patches(hidden, grid)), dim=-1)
        probabilities = present_softmax(
            features @ self.texts.T, present[:, None].expand(-1, features.shape[1], -1), self.encoder.scale
        )
        for row, chosen in enumerate(present):
            yield probabilities[row, :, : len(chosen)][:, chosen].T.view(-1, *grid), None


def clip_tower(encoder: Encoder) -> VisionTransformer:
    """The vision transformer of an encoder, if it has a class token and a projection of patches.

    Raises:
        ModelNotFoundError: if it has none.
    """
    if encoder.vit is None or not encoder.vit.with_class_token:
        raise ModelNotFoundError(
            f"reference masks need a CLIP vision tower; model {encoder.files.name!r} has a {encoder.architecture}'s"
            "; give asf_miou a CLIP such as openai/clip-vit-base-patch16"
        )
    return encoder.vit


def to_whole_patches(encoder: Encoder, pixels: Tensor, scale: float = 1) -> Tensor:
    """(B, 3, H, W) uint8 -> normalised, both scaled sides rounded up to whole patches, as Pillow resizes."""
    rows, columns = _grid((pixels.shape[-2], pixels.shape[-1]), encoder.patch_size, scale)
    return encoder.normalize(resize(pixels, (rows * encoder.patch_size, columns * encoder.patch_size)))


def _grid(size: tuple[int, int], patch: int, scale: float) -> tuple[int, int]:
    """Rows and columns of patches that cover a picture."""
    height, width = (-(-round(side * scale) // patch) for side in size)
    return max(1, height), max(1, width)
