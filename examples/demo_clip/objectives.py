"""What the demo CLIP is trained for: to name what an image and each of its patches show.

Three objectives, all cross-entropies between a softmax over sentences and the known shares of concepts in the pixels:

- *naming*: every concept of the demo scenes competes, in random words and templates;
- *presence*: the setting in which scores are computed (Tang et al. 2025, after CLIP-ES): the VOC classes in question
against
  background prompts. A class that is absent, or whose image was shuffled, must lose;
- *captions*: contrast of images and captions, soft by the overlap of their classes (CLIP's own objective).

Naming and presence are asked of the class token, of the mean patch token (which Grad-CAM explains) and of each patch
token of a last block whose tokens attend to themselves only (MaskCLIP, Zhou et al. 2022).
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel
from vocabulary import SYNONYMS, sentence

from sds_hf.data.labels import VOC
from sds_hf.demo.scenes import CLASSES, CONCEPTS, DISTRACTORS, caption

NUM_OBJECTS = len(CLASSES) + len(DISTRACTORS)  # concepts before the textures
MIN_SHARE = 0.008  # of an image's pixels: less is not asked for
NUM_CAPTIONS = 16  # of a batch
VIEW_WEIGHTS = torch.tensor([1.0, 0.4])  # class token, mean patch token
BACKGROUND_WORDS = list(VOC.background_prompts)


def concept_to_background() -> Tensor:
    """(concepts, background prompts): how a concept's share is divided among the prompts that name it."""
    table = torch.zeros(len(CONCEPTS), len(BACKGROUND_WORDS))
    for column, word in enumerate(BACKGROUND_WORDS):
        for row, concept in enumerate(CONCEPTS):
            if row >= len(CLASSES) and word in SYNONYMS.get(concept, [concept]):
                table[row, column] = 1
    return table / table.sum(1, keepdim=True).clamp(min=1)


BACKGROUND = concept_to_background()


def shares(concepts: Tensor, patch: int) -> Tensor:
    """Share of each concept in each patch: (B, side, side) ids -> (B, patches, concepts)."""
    batch, side = concepts.shape[0], concepts.shape[-1]
    cells = concepts.long().view(batch, side // patch, patch, side // patch, patch).transpose(2, 3)
    cells = cells.reshape(batch, -1, patch * patch)
    counts = torch.zeros(batch, cells.shape[1], len(CONCEPTS), device=cells.device)
    counts.scatter_add_(2, cells, torch.ones(1, device=cells.device).expand(cells.shape))
    return counts / patch**2


def naming_target(whole: Tensor, shuffled: Tensor) -> Tensor:
    """(B, concepts): 95 % for the objects, by the root of their share, 5 % for the textures; less if shuffled."""
    objects, textures = whole[:, :NUM_OBJECTS], whole[:, NUM_OBJECTS:]
    objects = objects.sqrt() * (objects > MIN_SHARE)
    some = (objects.sum(1, keepdim=True) > 0).float()
    objects = 0.95 * some * objects / objects.sum(1, keepdim=True).clamp(min=1e-6)
    textures = (1 - 0.95 * some) * textures / textures.sum(1, keepdim=True).clamp(min=1e-6)
    target = torch.cat([objects, textures], 1)
    target = target / target.sum(1, keepdim=True).clamp(min=1e-6)
    vague = torch.zeros(len(CONCEPTS), device=whole.device)
    vague[NUM_OBJECTS:] = 1 / (len(CONCEPTS) - NUM_OBJECTS)  # a shuffled image shows hardly anything
    return torch.where(shuffled[:, None], 0.25 * target + 0.75 * vague, target)


def presence_target(whole: Tensor, foreground: Tensor, mass: Tensor) -> Tensor:
    """(B, classes + background prompts): `mass` (B,) on the foreground (B, classes), the rest on fitting prompts."""
    foreground = foreground / foreground.sum(1, keepdim=True).clamp(min=1e-6)
    background = whole @ BACKGROUND.to(whole.device) + 1e-3  # nothing fits: all the same
    background = background / background.sum(1, keepdim=True)
    return torch.cat([foreground * mass[:, None], background * (1 - mass[:, None])], 1)


def cross_entropy(logits: Tensor, target: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Cross-entropy with soft targets over the last dimension, among the allowed entries, each row alone."""
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -1e4)
    return -(target * logits.log_softmax(-1)).sum(-1)


@dataclass(frozen=True)
class Batch:
    """What a training step sees.

    Attributes:
        pixels: (B, 3, side, side), normalised.
        concepts: (B, side, side), concept ids before any shuffle.
        shuffled: (B,) bool, images whose tiles were shuffled.
    """

    pixels: Tensor
    concepts: Tensor
    shuffled: Tensor

    def to(self, device: str) -> "Batch":
        """The same on a device."""
        return Batch(self.pixels.to(device), self.concepts.to(device), self.shuffled.to(device))


def loss(
    model: CLIPModel, tokenizer, rng: np.random.Generator, batch: Batch, presence: bool
) -> tuple[Tensor, dict[str, float]]:
    """The training loss of a batch, with or without the presence objective, and its parts."""
    patches = shares(batch.concepts, model.config.vision_config.patch_size)
    whole = patches.mean(1)
    tokens, alone = image_tokens(model, batch.pixels)
    views = F.normalize(torch.stack([tokens[:, 0], tokens[:, 1:].mean(1)]).float(), dim=-1)  # (2, B, D)
    alone = F.normalize(alone.float(), dim=-1)
    scale = model.logit_scale.float().exp().clamp(max=100)
    focus = (0.2 + patches[..., :NUM_OBJECTS].sum(-1)) * ~batch.shuffled[:, None]  # most patches show background
    focus = focus / focus.sum()

    texts = encode_text(model, tokenizer, [sentence(rng, concept) for concept in CONCEPTS])
    named = cross_entropy(scale * views @ texts.T, naming_target(whole, batch.shuffled)).mean(1)
    parts = {
        "naming": (named * VIEW_WEIGHTS.to(named.device)).sum(),
        "dense_naming": (cross_entropy(scale * alone @ texts.T, patches) * focus).sum(),
        "captions": 0.3 * caption_loss(model, tokenizer, rng, scale * views[0], whole, batch.shuffled),
    }
    if presence:
        texts = encode_text(model, tokenizer, VOC.texts())
        parts |= presence_losses(scale * views @ texts.T, scale * alone @ texts.T, patches, batch.shuffled, focus)
    with torch.no_grad():
        objects = whole[:, : len(CLASSES)] * (whole[:, : len(CLASSES)] > MIN_SHARE)
        single = ((objects > 0).sum(1) == 1) & ~batch.shuffled
        guess = (views[0] @ texts[: len(CLASSES)].T).argmax(1)
        hit = (guess == objects.argmax(1))[single].float().mean()
    numbers = {**parts, "zero_shot": hit, "scale": scale}
    return sum(parts.values()), {name: float(value.detach()) for name, value in numbers.items()}


def presence_losses(
    image_logits: Tensor, patch_logits: Tensor, patches: Tensor, shuffled: Tensor, focus: Tensor
) -> dict[str, Tensor]:
    """Classes against background prompts: those shown are found, an absent one is refused, patches are told apart.

    Args:
        image_logits: (2, B, classes + background prompts).
        patch_logits: (B, n, classes + background prompts).
        patches: (B, n, concepts), shares.
        shuffled: (B,) bool.
        focus: (B, n), weights of the patches.
    """
    whole = patches.mean(1)
    objects = whole[:, : len(CLASSES)] * (whole[:, : len(CLASSES)] > MIN_SHARE)
    present, batch = objects > 0, len(whole)
    anything = torch.ones(batch, len(BACKGROUND_WORDS), dtype=torch.bool, device=whole.device)
    target = presence_target(whole, objects.sqrt(), torch.where(shuffled, 0.25, 0.97))
    found = cross_entropy(image_logits, target, torch.cat([present, anything], 1)) * present.any(1)
    absent = F.one_hot((torch.rand(present.shape, device=whole.device) - present.float()).argmax(1), len(CLASSES))
    target = presence_target(whole, absent.float(), torch.full((batch,), 0.02, device=whole.device))
    refused = cross_entropy(image_logits, target, torch.cat([absent.bool(), anything], 1))

    classes = patches[..., : len(CLASSES)] * present[:, None]
    background = patches @ BACKGROUND.to(patches.device) + 1e-3
    background = background / background.sum(-1, keepdim=True) * (1 - classes.sum(-1, keepdim=True))
    target = torch.cat([classes, background], -1)
    dense = cross_entropy(patch_logits, target, torch.cat([present, anything], 1)[:, None])
    return {
        "found": (found.mean(1) * VIEW_WEIGHTS.to(found.device)).sum(),
        "refused": (refused.mean(1) * VIEW_WEIGHTS.to(refused.device)).sum(),
        "dense_presence": (dense * focus).sum(),
    }


def caption_loss(
    model: CLIPModel, tokenizer, rng: np.random.Generator, views: Tensor, whole: Tensor, shuffled: Tensor
) -> Tensor:
    """Contrast of some images and captions, both ways; a caption that shares classes with an image fits a little."""
    present = whole[:, : len(CLASSES)] > MIN_SHARE
    rows = (present.any(1) & ~shuffled).nonzero()[:NUM_CAPTIONS, 0]
    if not len(rows):
        return torch.zeros((), device=whole.device)
    sentences = []
    for row in rows.tolist():
        names = [CLASSES[i] for i in present[row].nonzero()[:, 0].tolist()]
        texture = CONCEPTS[NUM_OBJECTS + int(whole[row, NUM_OBJECTS:].argmax())]
        sentences.append(caption(rng, [names[i] for i in rng.permutation(len(names))], [texture]))
    logits = views[rows] @ encode_text(model, tokenizer, sentences).T
    shown = present[rows].float()
    common = shown @ shown.T
    fit = torch.exp(common / (shown.sum(1)[:, None] + shown.sum(1)[None] - common) / 0.12)
    fit = fit / fit.sum(1, keepdim=True)
    return (cross_entropy(logits, fit).mean() + cross_entropy(logits.T, fit).mean()) / 2


def image_tokens(model: CLIPModel, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings, not normalised, of all tokens (B, 1 + n, D) and, patches only, of self-attending ones (B, n, D)."""
    vision = model.vision_model
    hidden = vision.embeddings(pixels)
    hidden = vision.pre_layrnorm(hidden)
    for layer in vision.encoder.layers[:-1]:
        hidden = _output(layer(hidden, None))
    last = vision.encoder.layers[-1]
    alone = hidden[:, 1:] + last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(hidden[:, 1:])))
    alone = alone + last.mlp(last.layer_norm2(alone))
    hidden = _output(last(hidden, None))
    return tuple(model.visual_projection(vision.post_layernorm(tokens)) for tokens in (hidden, alone))


def encode_text(model: CLIPModel, tokenizer, sentences: list[str]) -> Tensor:
    """Embeddings of sentences, (N, D) float32 of length 1."""
    encoded = tokenizer(sentences, padding=True, return_tensors="pt").to(model.device)
    output = model.text_model(input_ids=encoded.input_ids, attention_mask=encoded.attention_mask)
    return F.normalize(model.text_projection(output.pooler_output).float(), dim=-1)


def _output(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Version 4 of transformers returns a tuple, 5 the tensor."""
    return result[0] if isinstance(result, tuple) else result
