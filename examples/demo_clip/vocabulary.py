"""What the demo CLIP reads: words for every concept of the demo scenes, templates and a tokenizer made of them."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from sds_hf.data.labels import VOC
from sds_hf.demo.scenes import CLASSES, CONCEPTS, caption

MAX_TOKENS = 32
SYNONYMS = {
    "aeroplane": ["aeroplane", "airplane", "plane"],
    "bicycle": ["bicycle", "bike"],
    "boat": ["boat", "ship"],
    "car": ["car", "automobile"],
    "cow": ["cow", "ox"],
    "diningtable": ["diningtable", "dining table", "table"],
    "motorbike": ["motorbike", "motorcycle", "scooter"],
    "person": ["person", "man", "woman", "people"],
    "pottedplant": ["pottedplant", "potted plant", "plant"],
    "sofa": ["sofa", "couch"],
    "tvmonitor": ["tvmonitor", "tv monitor", "television", "tv", "monitor"],
    "railway": ["railway", "railroad"],
    "sign": ["sign", "traffic sign"],
    "rabbit": ["rabbit", "bunny"],
    "phone": ["phone", "cell phone", "telephone"],
    "cake": ["cake", "donut"],
    "sky": ["sky"],
    "grass": ["grass", "land", "valley", "ground"],
    "water": ["water", "lake", "river", "sea", "ocean"],
    "sand": ["sand", "beach", "ground", "land"],
    "snow": ["snow", "ice"],
    "floor": ["floor", "ground"],
    "road": ["road", "street"],
}
TEMPLATES = [
    "a photo of a {}",
    "a photo of the {}",
    "a picture of a {}",
    "an image of a {}",
    "{}",
    "a {}",
    "there is a {}",
    "a drawing of a {}",
    "a rendering of a {}",
    "a clean origami {}.",
]


def words(concept: str) -> list[str]:
    """Everything the concept is called, the label space's prompt included."""
    own = SYNONYMS.get(concept, [concept])
    return own + ([VOC.prompts[CLASSES.index(concept)]] if concept in CLASSES else [])


def sentence(rng: np.random.Generator, concept: str) -> str:
    """One concept in a random template."""
    options = words(concept)
    return TEMPLATES[rng.integers(len(TEMPLATES))].format(options[rng.integers(len(options))])


def train_tokenizer(folder: Path, vocabulary: int = 900) -> CLIPTokenizer:
    """Train a CLIP-style byte-pair tokenizer on captions and prompts, save it in `folder` and return it."""
    rng = np.random.default_rng(0)
    corpus = [sentence(rng, concept) for concept in CONCEPTS for _ in range(60)] + VOC.texts() * 60
    corpus += [caption(rng, list(rng.choice(CLASSES, 2, replace=False)), ["grass"]) for _ in range(5000)]
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pattern = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        min_frequency=5,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    # The order of OpenAI's vocabulary: bytes, bytes that end a word, merges, start and end of text.
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(pair) for pair in merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    ids = {token: index for index, token in enumerate(tokens)}
    trained = CLIPTokenizer(vocab=ids, merges=merges, model_max_length=MAX_TOKENS)
    trained.save_pretrained(folder)
    return trained
