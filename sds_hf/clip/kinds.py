"""Words that settings use for what an encoder does. Apart, so that settings are read without torch."""

from typing import Literal

DTypeName = Literal["auto", "fp32", "bf16", "fp16"]
Pool = Literal["cls", "patch_mean"]
Position = Literal["bicubic", "bilinear"]
SimilarityKind = Literal["prob", "prob_mean", "prob_min", "cosine", "clipscore", "entropy"]
