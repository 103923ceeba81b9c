"""Which classes a text names."""

import re
from collections.abc import Iterable, Sequence

SPELLINGS = {  # of class names, as people and the prompts of Dataset Diffusion write them
    "tvmonitor": ("tv monitor", "tv"),
    "diningtable": ("dining table",),
    "pottedplant": ("potted plant",),
    "person": ("people",),
    "mouse": ("mice",),
    "knife": ("knives",),
}


def classes_in_prompt(prompt: str, names: Sequence[str], class_ids: Iterable[int] | None = None) -> set[int]:
    """Indices of the classes a text names, in singular or plural, longest names first: "hot dog" names no dog.

    Args:
        prompt: class names, or a sentence.
        names: class names by index.
        class_ids: the classes to look for; all but 0 if None.
    """
    text, indices = _words(prompt), set()
    class_ids = range(1, len(names)) if class_ids is None else class_ids
    spoken = [(_words(spelling), i) for i in class_ids for spelling in (names[i], *SPELLINGS.get(names[i], ()))]
    for words, index in sorted(spoken, key=lambda pair: -len(pair[0])):
        text, count = re.subn(rf"\b{_any_number(words)}\b", " / ", text)
        if count:
            indices.add(index)
    return indices


def _any_number(words: str) -> str:
    """A pattern of words in singular or plural: "cars" and "buses", but not "cares"."""
    if re.search(r"[^aeiou]y$", words):
        return rf"{re.escape(words[:-1])}(y|ies)"
    ending = "(es)?" if re.search(r"(s|x|z|ch|sh)$", words) else "(e?s)?" if words.endswith("o") else "s?"
    return re.escape(words) + ending


def _words(text: str) -> str:
    """Lower case, words separated by single spaces."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))
