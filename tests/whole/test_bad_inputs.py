"""What goes wrong with inputs: each kind with the line that says so. A row fails alone; nothing becomes a number."""

import hashlib
import io
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, IterableDataset, Value
from PIL import Image
from support.rows import random_row

from sds_hf import ASF, PCS, Boundary, ClassesPresent, PromptMismatch, score_table
from sds_hf.cli import main
from sds_hf.data.folder import row_features
from sds_hf.data.images import encode_jpeg, encode_mask
from sds_hf.data.labels import VOC

SIDE = 40
NOISE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
GOOD_MASK = np.zeros((SIDE, SIDE), np.uint8)
GOOD_MASK[8:30, 8:30] = 12
SCORED = ["clip_sim", "clip_sim_mixed", "pcs", "asf_miou"]


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode: str = "RGB", kind: str = "PNG", **options) -> bytes:
    return saved(Image.fromarray(NOISE).convert(mode), kind, **options)


def indices(values: np.ndarray, kind: str = "PNG", **options) -> bytes:
    return saved(Image.fromarray(values), kind, **options)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, extra: bytes = b"") -> bytes:
    """A PNG of one bit a pixel that says it is so large."""
    rows = zlib.compress(b"\0" * 100)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def palette_mask(values: np.ndarray) -> bytes:
    image = Image.fromarray(values)
    image.putpalette([channel for color in VOC.palette for channel in color])
    return saved(image)


def sorted_anew(values: np.ndarray) -> bytes:
    """A palette PNG as optimizers leave it: the colours of what is used only, in another order."""
    used, places = np.unique(values, return_inverse=True)
    image = Image.fromarray(places.reshape(values.shape).astype(np.uint8))
    image.putpalette([channel for value in used for channel in VOC.palette[value]])
    return saved(image)


def turned(size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    """A JPEG that its EXIF data turns by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(NOISE).resize(size), "JPEG", exif=exif)


def frames(kind: str) -> bytes:
    first, second = (Image.fromarray(array) for array in (NOISE, 255 - NOISE))
    return saved(first, kind, save_all=True, append_images=[second])


def filled(value: int, size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    return encode_mask(np.full(size, value, np.uint8))


JPEG, MASK, BITMAP = encode_jpeg(NOISE), encode_mask(GOOD_MASK), picture()
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
BOMB_TEXT = chunk(b"zTXt", b"note\0\0" + zlib.compress(b"x" * (2 << 20)))

# Kind of row: the cells that are special, and what its error is; FOLDER stands for a temporary folder.
FAILING = {
    "truncated JPEG": ({"image": JPEG[:-200]}, "image row: broken image data: image file is truncated"),
    "truncated PNG": ({"image": BITMAP[:-900]}, "image row: broken image data: "),
    "truncated header": ({"image": BITMAP[:20]}, "image row: broken image data: "),
    "corrupt PNG": ({"image": BITMAP[:60] + b"\0" * 9 + BITMAP[69:]}, "image row: broken image data: "),
    "zero bytes": ({"image": b""}, "image row: the file is empty (0 bytes)"),
    "text": ({"image": b"<html>404</html>"}, "image row: 16 bytes that are no image"),
    "pointer of Git LFS": (
        {"image": LFS},
        "image row: a pointer of Git LFS, not the file itself; get it with `git lfs",
    ),
    "PostScript, which would run a program": ({"image": EPS}, f"image row: {len(EPS)} bytes that are no image"),
    "null image": ({"image": None}, "image row: the cell is empty"),
    "neither bytes nor path": ({"image": {"bytes": None, "path": None}}, "image row: the cell is empty"),
    "missing file": (
        {"image": {"bytes": None, "path": "FOLDER/gone.jpg"}},
        "image gone.jpg: cannot read FOLDER/gone.jpg: No such file or directory",
    ),
    "folder as file": (
        {"image": {"bytes": None, "path": "FOLDER"}},
        "cannot read FOLDER: Is a directory",
    ),
    "name that no file can have": ({"image": {"bytes": None, "path": "a\0b.jpg"}}, "embedded null byte"),
    "16-bit": ({"image": indices(NOISE[..., 0].astype(np.uint16) * 256)}, "image row: mode I;16 is no 8-bit picture"),
    "float": ({"image": indices(NOISE[..., 0] / np.float32(255), "TIFF")}, "image row: mode F is no 8-bit picture"),
    "Lab": ({"image": picture("LAB", "TIFF")}, "image row: mode LAB is no 8-bit picture; convert it to RGB"),
    "animated GIF": ({"image": frames("GIF")}, "image row: 2 frames; an image has one"),
    "animated WebP": ({"image": frames("WEBP")}, "image row: 2 frames; an image has one"),
    "pages of a TIFF": ({"image": frames("TIFF")}, "image row: 2 frames; an image has one"),
    "20,000 pixels a side": ({"image": png_of(20_000, 20_000)}, "image row: too large: Image size (400000000 pixels)"),
    "10,000 pixels a side": ({"image": png_of(10_000, 10_000)}, "image row: too large: 10000x10000 pixels"),
    "20,000 pixels wide": (
        {"image": saved(Image.new("RGB", (20_000, 4))), "mask": filled(1, (4, 20_000))},
        "image row: 20000x4 pixels; one side may be 100 times the other, not more",
    ),
    "text that decompresses to megabytes": ({"image": png_of(8, 8, BOMB_TEXT)}, "image row: broken image data: "),
    "no pixels": ({"image": png_of(0, 8)}, "image row: 69 bytes that are no image"),
    "turned by EXIF, mask not": (
        {"image": turned((56, SIDE)), "mask": filled(3, (SIDE, 56))},
        "mask row: 56x40 pixels, but the image has 40x56",
    ),
    "mask of another size": ({"mask": filled(3, (SIDE, 56))}, "mask row: 56x40 pixels, but the image has 40x40"),
    "coloured mask": ({"mask": picture()}, "mask row: holds colours, e.g. ("),
    "JPEG mask": ({"mask": saved(Image.fromarray(GOOD_MASK), "JPEG")}, "mask row: a JPEG mask has lost its indices"),
    "mask with alpha": ({"mask": picture("LA")}, "mask row: mode LA holds no class indices; save it as an 8-bit index"),
    "mask in transparency": (
        {"mask": saved(Image.merge("RGBA", [Image.new("L", (SIDE, SIDE))] * 3 + [Image.fromarray(GOOD_MASK)]))},
        "mask row: all its shapes are in its transparency (alpha)",
    ),
    "mask of a palette sorted anew": (
        {"mask": sorted_anew(GOOD_MASK)},
        "that of 12: a tool that makes PNGs smaller (oxipng, optipng, pngquant, ImageMagick) sorted its palette anew",
    ),
    "float mask": ({"mask": indices(GOOD_MASK.astype(np.float32), "TIFF")}, "mask row: mode F holds no class indices"),
    "mask above 255": (
        {"mask": indices(GOOD_MASK.astype(np.uint16) + 300)},
        "mask row: holds the index 300; indices go",
    ),
    "negative mask": (
        {"mask": indices(GOOD_MASK.astype(np.int32) - 1, "TIFF")},
        "mask row: holds the index -1; indices go",
    ),
    "unknown ids": (
        {"mask": filled(99)},
        "mask row: [99] stand for no class of the label space 'voc' (1 to 20, 255 is ignored)",
    ),
    "unknown ids of a palette": (
        {"mask": palette_mask(GOOD_MASK * 2)},
        "mask row: [24] stand for no class of the label",
    ),
    "null mask": ({"mask": None}, "mask row: the cell is empty"),
    "zero-byte mask": ({"mask": b""}, "mask row: the file is empty (0 bytes)"),
    "truncated mask": ({"mask": encode_mask(NOISE[..., 0])[:-100]}, "mask row: broken image data: "),
    "missing mask file": (
        {"mask": {"bytes": None, "path": "FOLDER/gone.png"}},
        "mask gone.png: cannot read FOLDER/gone.png: No such file or directory",
    ),
    "animated mask": ({"mask": frames("GIF")}, "mask row: 2 frames; an image has one"),
    "mask that is a bomb": ({"mask": png_of(20_000, 20_000)}, "mask row: too large: Image size (400000000 pixels)"),
}

# Kind of row: the cells that are special, and the scores that are null; what looks odd and is right.
UNUSUAL = {
    "CMYK": ({"image": picture("CMYK", "JPEG")}, []),
    "grey with alpha": ({"image": picture("LA")}, []),
    "RGB with alpha": ({"image": picture("RGBA")}, []),
    "palette": ({"image": picture("P")}, []),
    "black and white": ({"image": picture("1")}, []),
    "turned by EXIF": ({"image": turned((56, SIDE)), "mask": filled(3, (56, SIDE))}, []),
    "one pixel": ({"image": encode_jpeg(NOISE[:1, :1]), "mask": filled(5, (1, 1))}, []),
    "one pixel high": ({"image": encode_jpeg(NOISE[:1]), "mask": filled(5, (1, SIDE))}, []),
    "palette mask": ({"mask": palette_mask(GOOD_MASK)}, []),
    "16-bit mask of small indices": ({"mask": indices(GOOD_MASK.astype(np.uint16))}, []),
    "grey RGB mask": ({"mask": saved(Image.fromarray(GOOD_MASK).convert("RGB"))}, []),
    "all 255": ({"mask": filled(255)}, SCORED),
    "all background": ({"mask": filled(0)}, SCORED),
    "no caption": ({"caption": None}, []),
    "empty class list": ({"classes": []}, []),
    "null class list": ({"classes": None}, []),
    "usual": ({}, []),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("files")


def cell(value, folder: Path):
    if isinstance(value, bytes):
        return {"bytes": value, "path": None}
    if isinstance(value, dict) and value["path"]:
        return value | {"path": value["path"].replace("FOLDER", str(folder))}
    return value


@pytest.fixture(scope="module")
def table(tiny_clip, folder) -> dict[str, dict]:
    """All kinds of rows in one table, by kind."""
    rows = []
    for kind, (special, _) in {**FAILING, **UNUSUAL}.items():
        row = random_row(0) | {"image": JPEG, "mask": MASK, "classes": [12]} | special
        rows.append({name: cell(value, folder) for name, value in row.items()} | {"id": "row", "kind": kind})
    for place, row in enumerate(rows):
        row["id"] = f"row{place}"
    schema = row_features(VOC, {"kind": Value("string")}).arrow_schema
    data = Dataset(pa.Table.from_pylist(rows, schema=schema))  # `from_list` refuses a cell of neither bytes nor path
    scores = [PCS(model=tiny_clip, dtype="fp32", scales=(3,), orders=1), ASF(model=tiny_clip, dtype="fp32")]
    found = score_table(data, scores, folder / "scores", batch_size=7).to_arrow().to_pylist()
    assert [row["id"] for row in found] == data["id"]
    return dict(zip(data["kind"], found, strict=True))


@pytest.mark.parametrize("kind", FAILING)
def test_a_row_that_cannot_be_scored_says_why(table, folder, kind):
    row, said = table[kind], FAILING[kind][1].replace("FOLDER/", "").replace("FOLDER", folder.name)
    assert row["status"] == "failed"
    assert said in row["error"].replace(f"{row['id']}:", "row:")
    assert "\n" not in row["error"]
    assert {row[name] for name in (*SCORED, "num_classes_present", "classes_present")} == {None}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_a_row_that_only_looks_odd_is_scored(table, kind):
    row, nulls = table[kind], UNUSUAL[kind][1]
    assert (row["status"], row["error"]) == ("ok", None)
    assert [name for name in SCORED if row[name] is None] == nulls
    assert all(np.isfinite(row[name]) for name in SCORED if name not in nulls)
    if kind in ("palette mask", "16-bit mask of small indices", "grey RGB mask", "no caption", "null class list"):
        usual = {name: table["usual"][name] for name in SCORED}
        assert {name: row[name] for name in SCORED} == pytest.approx(usual, abs=5e-6)


# Datasets and folders


def pairs(folder: Path) -> Path:
    for name, data in (("images", JPEG), ("masks", MASK)):
        (folder / name).mkdir(parents=True)
        (folder / name / f"1.{'jpg' if name == 'images' else 'png'}").write_bytes(data)
    return folder


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def parquet(path: Path, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


IMAGE, MASKS = [{"bytes": JPEG, "path": None}], [{"bytes": MASK, "path": None}]
# Kind of dataset: how it is made in a folder, and what is said of it, where PLACE is what was given.
DATASETS = {
    "nothing there": (lambda folder: folder / "nowhere", "PLACE does not exist"),
    "empty folder": (lambda folder: folder, "PLACE is no dataset: neither Parquet nor a layout of the readers ["),
    "text file": (
        lambda folder: written(folder / "notes.txt", b"x"),
        "PLACE is a file; give a dataset's folder, Parquet",
    ),
    "folder without images": (
        lambda folder: [(folder / name).mkdir() for name in ("images", "masks")] and folder,
        "PLACE/images holds no images",
    ),
    "folder without masks": (
        lambda folder: written(folder / "images" / "1.jpg", JPEG) and folder,
        "PLACE is no dataset",
    ),
    "junk Parquet": (lambda folder: written(folder / "a.parquet", b"PAR1 no PAR1"), "cannot read PLACE: PLACE: "),
    "junk among Parquet": (
        lambda folder: written(parquet(folder / "a.parquet", id=["1"]).parent / "b.parquet", b"junk").parent,
        "cannot read PLACE: PLACE/b.parquet: ",
    ),
    "truncated Parquet": (
        lambda folder: written(folder / "a.parquet", parquet(folder / "whole", id=["1"]).read_bytes()[:-9]),
        "cannot read PLACE: PLACE: ",
    ),
    "no file of a pattern": (lambda folder: folder / "*.parquet", "no file matches PLACE"),
    "wrong column names": (
        lambda folder: parquet(folder / "a.parquet", picture=IMAGE, label=MASKS),
        "missing among ['label', 'picture']",
    ),
    "no rows": (lambda folder: parquet(folder / "a.parquet", id=pa.array([], pa.string())), "PLACE has no rows"),
    "ids twice": (
        lambda folder: parquet(folder / "a.parquet", id=["a", "a"], image=IMAGE * 2, mask=MASKS * 2),
        "the id 'a' occurs more than once, in rows 0 and 1",
    ),
    "null id": (
        lambda folder: parquet(folder / "a.parquet", id=["a", None], image=IMAGE * 2, mask=MASKS * 2),
        "row 1 has no id",
    ),
    "numbers for images": (
        lambda folder: parquet(folder / "a.parquet", image=[3], mask=MASKS),
        "all 1 rows failed, the first with: 0: image: a int is no image",
    ),
    "table that is not UTF-8": (
        lambda folder: written(pairs(folder) / "metadata.csv", b"file_name,text\n1.jpg,caf\xe9\n").parent,
        "PLACE/metadata.csv is not UTF-8 (byte ",
    ),
    "table of other columns": (
        lambda folder: written(pairs(folder) / "metadata.csv", b"name,text\n1.jpg,cafe\n").parent,
        "PLACE/metadata.csv needs a column `file_name`; it has ['name', 'text']",
    ),
    "table of broken lines": (
        lambda folder: written(pairs(folder) / "metadata.jsonl", b'{"file_name": "1.jpg"').parent,
        "PLACE/metadata.jsonl cannot be read: ",
    ),
    "table that is no Parquet": (
        lambda folder: written(pairs(folder) / "metadata.parquet", b"junk").parent,
        "cannot read PLACE: PLACE/metadata.parquet: ",
    ),
    "mask file of unknown ids": (
        lambda folder: written(pairs(folder) / "masks" / "1.png", filled(99)).parents[1],
        "PLACE/masks/1.png: [99] stand for no class of the label space 'voc' (0 to 20, 255 is ignored)",
    ),
    "broken mask file": (
        lambda folder: written(pairs(folder) / "masks" / "1.png", MASK[:40]).parents[1],
        "PLACE/masks/1.png: ",
    ),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", ["files", "saved", "pattern"])
def test_a_folder_whose_name_chains_is_one_line(kind, streaming, tmp_path, capsys):
    place = tmp_path / "a::b" / kind
    if kind == "saved":
        Dataset.from_list([random_row(0)], features=row_features(VOC)).save_to_disk(place)
    else:
        place.mkdir(parents=True)
        parquet(place / "a.parquet", image=IMAGE, mask=MASKS)
    name = str(place / "*.parquet") if kind == "pattern" else str(place)
    options = ["--labels", "voc", "--scores", "classes_present", "--out", str(tmp_path / "out"), "--quiet"]
    assert main(["score", name, *options, *(["--streaming"] * streaming)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "has '::' in its path, by which `datasets` names files inside of archives" in line


def test_a_raw_folder_may_be_called_anything(tmp_path, capsys):
    (tmp_path / "a::b").mkdir()
    folder = pairs(tmp_path / "a::b")
    assert main(["import", "folder", str(folder), "--out", str(tmp_path / "out"), "--labels", "voc"]) == 0
    assert "1 row read by folder" in capsys.readouterr().out


@pytest.mark.parametrize("column", ["image", "mask", "caption"])
def test_lists_too_deep_to_be_read_are_their_row_s_failure(column, tmp_path):
    def rows():
        for index in range(3):
            row = random_row(index)
            if index == 1:
                row[column] = 1
                for _ in range(900):
                    row[column] = [row[column]]
            yield row

    scores = [Boundary(labels="voc"), PromptMismatch(labels="voc", prompt="caption")]
    table = score_table(IterableDataset.from_generator(rows), scores, tmp_path).to_arrow()
    assert table["status"].to_pylist() == ["ok", "failed", "ok"]
    error = table["error"][1].as_py()
    assert error.startswith(column)
    assert error.endswith(": lists in lists, too deep to be read")


@pytest.mark.parametrize("kind", DATASETS)
def test_a_dataset_that_cannot_be_scored_is_one_line(kind, tiny_clip, tmp_path, capsys):
    make, said = DATASETS[kind]
    (tmp_path / "in").mkdir()
    place = make(tmp_path / "in")
    options = ["--labels", "voc", "--scores", "clip_sim", "--model", tiny_clip, "--out", str(tmp_path / "out")]
    assert main(["score", str(place), *options, "--quiet"]) in (1, 2)
    captured = capsys.readouterr()
    assert said.replace("PLACE", str(place)) in captured.err
    assert (len(captured.err.strip().splitlines()), captured.out) == (1, "")


def test_one_row_is_enough(tiny_clip, tmp_path, capsys):
    place = parquet(tmp_path / "a.parquet", image=IMAGE, mask=MASKS)
    options = ["--labels", "voc", "--scores", "clip_sim", "--model", tiny_clip, "--out", str(tmp_path / "out")]
    assert main(["score", str(place), *options]) == 0
    assert "1 rows scored on" in " ".join(capsys.readouterr().out.split())


def test_text_that_is_not_utf_8_stops_nothing(tmp_path):
    latin = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 4, 8], np.int32)), pa.py_buffer(b"caf\xe9cafe"))
    assert latin.null_count == 0
    ids = Dataset(pa.table({"id": latin, "image": IMAGE * 2, "mask": MASKS * 2, "caption": latin}))
    found = score_table(ids, [ClassesPresent(labels="voc")], tmp_path / "out").to_arrow()
    assert found["status"].to_pylist() == ["ok", "ok"]
    assert found["id"].to_pylist() == [r"b'caf\xe9'", "cafe"]


# Where it is written


def good_rows() -> Dataset:
    return Dataset.from_list([random_row(index) for index in range(3)], features=row_features(VOC))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file", "cannot make the folder PLACE: File exists; choose another out=..."),
        ("file/below", "cannot make the folder PLACE: Not a directory; choose another out=..."),
        ("/proc/scores", "cannot make the folder PLACE: No such file or directory; choose another out=..."),
    ],
)
def test_an_output_that_cannot_be_written(place, said, tmp_path):
    (tmp_path / "file").write_text("mine")
    place = tmp_path / place
    with pytest.raises(OSError, match=said.replace("PLACE", str(place))) as caught:
        score_table(good_rows(), [ClassesPresent()], place)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_disk_that_is_full(tmp_path):
    """A limit on the size of files stands for it: writing fails in the middle of a shard."""
    names = [hashlib.sha256(bytes([index])).hexdigest() for index in range(200)]
    rows = Dataset.from_list([random_row(0) | {"id": name} for name in ["a", *names]], features=row_features(VOC))
    score_table(rows.select(range(1)), [ClassesPresent()], tmp_path / "whole")
    manifest = (tmp_path / "whole" / "manifest.json").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (manifest + 1000, limits[1]))
        said = r"cannot write .*00002\.parquet: File too large; what is finished stays, run the same command again"
        with pytest.raises(OSError, match=said):
            score_table(rows, [ClassesPresent()], tmp_path / "out", rows_per_shard=150)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.json"]
    assert len(score_table(rows, [ClassesPresent()], tmp_path / "out", rows_per_shard=150).paths) == 2


def test_there_are_enough_kinds():
    assert len(FAILING) + len(DATASETS) >= 40
