"""What is larger or deeper than anything people write is refused in one line, at once."""

import io
import json
import struct
import time
import zipfile

import numpy as np
import pytest

from sds_hf import Recipe
from sds_hf.data.sources.masks import read_mask
from sds_hf.limits import LimitError, read_arrays, read_json, read_yaml
from sds_hf.scores.base.fitted import load_statistics
from sds_hf.selection.recipe import RecipeError


def laughs(first: str, form: str) -> str:
    lines = [f"{first}&a [l,l,l,l,l,l,l,l,l]"]
    lines += [form.format(i, chr(98 + i), ",".join([f"*{chr(97 + i)}"] * 9)) for i in range(9)]
    return "\n".join(lines) + "\n"


BOMBS = {
    "lists": laughs("x: ", "x{}: &{} [{}]"),
    "top level": laughs("- ", "- &{1} [{2}]"),
    "in rules": "rules:\n" + laughs("- threshold: ", "- t{}: &{} [{}]"),
    "mappings": "a: &a0 {x: 1}\n" + "".join(f"k{i}: &a{i + 1} {{p: *a{i}, q: *a{i}}}\n" for i in range(40)),
    "merge keys": "a: &a0 {x: 1}\n" + "".join(f"k{i}: &a{i + 1} {{<<: [*a{i}, *a{i}]}}\n" for i in range(40)),
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_an_alias_bomb(text):
    started = time.monotonic()
    with pytest.raises(RecipeError, match=r"holds more than 100,000 values, aliases followed"):
        Recipe.from_yaml(text)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("name: &a [*a]", r"\*a holds itself"),
        ("scores: &a {pcs: {x: *a}}", r"\*a holds itself"),
        ("name: " + "[" * 5000 + "]" * 5000, "nests deeper than 100 levels"),
        ("a: " + "{a: " * 3000 + "1" + "}" * 3000, "nests deeper than 100 levels"),
        ("".join(f"{' ' * i}a:\n" for i in range(300)), "nests deeper than 100 levels"),
        ("name: " + "a" * 5_000_000, "has 5,000,006 characters; at most 4,194,304 are read"),
        ("- 1\n" * 200_000, "holds more than 100,000 values"),
        ("a: !!python/object/apply:os.system [id]", "is no YAML"),
    ],
)
def test_yaml_that_no_one_writes(text, limit):
    with pytest.raises(RecipeError, match=limit) as caught:
        Recipe.from_yaml(text)
    assert "\n" not in str(caught.value)
    with pytest.raises(RecipeError):
        Recipe.from_dict({"name": "x"}, [f"name={text}"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("target: " + "9" * 5000, r"Exceeds the limit \(4300 digits\).*"),
        ("name: 2001-13-45", r"month must be in 1\.\.12"),
    ],
)
def test_numbers_and_dates_that_are_none(text, why):
    message = rf"^the recipe holds a number or a date that cannot be read: {why}; quote it if it is a text$"
    with pytest.raises(RecipeError, match=message):
        Recipe.from_yaml(text)


def test_yaml_that_people_write():
    assert read_yaml("a: &a [1, 2]\nb: *a\nc: {<<: {x: 1}, y: *a}") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"x": 1, "y": [1, 2]},
    }
    assert read_yaml("") is None


def test_deep_json():
    with pytest.raises(LimitError, match="nests too deeply"):
        read_json("[" * 100_000 + "]" * 100_000)
    with pytest.raises(ValueError, match="is no JSON"):
        read_json("{")


# Arrays


def header(text: str) -> bytes:
    """The beginning of a `.npy` file with this header, which need not be one."""
    data = text.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(data)) + data


def claim(*shape: int, dtype: str = "<f8") -> bytes:
    return header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}")


def npz(path, **entries: bytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(f"{name}.npy", data)
    return path


def array(value) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


def about(**entries) -> bytes:
    return array(np.array(json.dumps({"kind": "gmm_sim", "model_digest": "x", **entries})))


@pytest.mark.parametrize(
    "data",
    [claim(1 << 42), claim(1 << 20, 1 << 20, 1 << 20), claim(20, dtype="<U100000000"), claim(1 << 30)],
    ids=["terabytes", "product", "long texts", "gigabytes"],
)  # fmt: skip
def test_arrays_that_claim_more_than_there_is(tmp_path, data):
    path = npz(tmp_path / "a.npz", about=about(), means=data)
    for read in (read_arrays, lambda name: load_statistics(name, "gmm_sim")):
        with pytest.raises(
            LimitError, match=r"claims arrays of more than [\d,]+ bytes; at most 4,294,967,296 are read"
        ):
            read(path)


@pytest.mark.parametrize(
    "entries",
    [
        {"about": about(), "means": claim(-1)},
        {"about": about(), "means": claim(100)},
        {"about": about(), "means": header("{'descr': '<f8',")},
        {"about": about(), "means": header("(1, 2),")},
        {"about": about(), "means": b"\x80\x04pickle"},
        {"about": about(), "means": array(np.array([{}], object))},
        {"about": array(np.array("[" * 100_000))},
        {"about": array(np.array("[]"))},
        {"about": array(np.array('{"x": 1}'))},
        {"means": array(np.zeros(3))},
        {},
    ],
)
def test_files_that_are_no_fitted_model(tmp_path, entries):
    with pytest.raises(ValueError, match=r"is no fitted model|fit it again|nests too deeply") as caught:
        load_statistics(npz(tmp_path / "a.npz", **entries), "gmm_sim")
    assert "\n" not in str(caught.value)


def test_an_array_that_is_missing_is_named(tmp_path):
    statistics = load_statistics(npz(tmp_path / "a.npz", about=about()), "gmm_sim")
    with pytest.raises(ValueError, match=r"a\.npz has no 'means': .* fit it again"):
        _ = statistics.arrays["means"]


ODD = [
    header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), },"),
    header(","),
    header("(,"),
    header("{'a': 1,"),
    header("[" * 5000),
    claim(1 << 42, 1),
    array(np.array([{}], object)),
    b"\x93NUMPY",
    b"",
]


@pytest.mark.parametrize("data", ODD)
def test_a_mask_with_an_odd_header_is_named(tmp_path, data):
    path = tmp_path / "mask.npy"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"mask\.npy: ") as caught:
        read_mask(path)
    assert "\n" not in str(caught.value)
