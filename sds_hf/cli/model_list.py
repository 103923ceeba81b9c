"""Models that are worth naming; many others work."""

from dataclasses import dataclass

from sds_hf.clip.checkpoints import DEFAULT_MODEL, TOKENIZER_FILES


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        name: for `--model`, or for the setting that asks for it.
        setting: which setting takes it.
        about: what it is good for.
    """

    name: str
    setting: str
    about: str


MODELS = (
    Model("demo", "model", "the tiny CLIP of this package; knows the scenes of `sds-hf demo` and nothing else"),
    Model(DEFAULT_MODEL, "model", "the default and the paper's; its bounds 0.8 and 0.1 are for this one"),
    Model("openai/clip-vit-large-patch14", "model", "sees more and is about four times slower; bounds as quantiles"),
    Model("google/siglip-base-patch16-224", "model", "a SigLIP, not for asf_miou; bounds as quantiles"),
    Model("facebook/sam3", "asf_miou.sam3_model", "a judge of masks with asf_miou.reference=sam3; asks for a login"),
)


def is_here(name: str) -> bool:
    """Whether a model can be used without a network."""
    from huggingface_hub import try_to_load_from_cache

    if name == "demo":
        return True
    files = ("config.json", "model.safetensors"), sorted(TOKENIZER_FILES)
    cached = [[isinstance(try_to_load_from_cache(name, file), str) for file in group] for group in files]
    return all(cached[0]) and any(cached[1])
