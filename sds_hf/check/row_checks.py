"""What is compared in the rows of a published dataset: ids, scores and masks."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from sds_hf.check.contents import Contents
from sds_hf.check.file_checks import Mismatch, named
from sds_hf.data.folder import TableStream
from sds_hf.data.ids import repeated_ids
from sds_hf.data.images import decode_image, decode_mask, values_of
from sds_hf.data.labels import LabelSpace
from sds_hf.errors import short
from sds_hf.hub.layout import DATA, SCORES

# Columns of the score table that are not those of the data, whatever these are called.
OF_CANDIDATES = {"row", "status", "error", "kept", "reason", "classes_present", "num_classes_present"}
MODES = ("L", "P")  # of masks whose pixels are indices


def check_ids(contents: Contents, progress: Callable[[int], None]) -> str | None:
    """Ids are there and unique; 8 bytes a row are held."""
    if "id" not in contents.info.features:
        return None

    count = nulls = 0

    def ids() -> Iterator[Any]:
        nonlocal count, nulls
        count = nulls = 0
        for group in contents.groups(DATA, ["id"]):
            count, nulls = count + group.num_rows, nulls + group["id"].null_count
            yield from group["id"].to_pylist()
            progress(group.num_rows)

    wrong = [short(name) for name in repeated_ids(ids) if name is not None] + [short(None)] * bool(nulls)
    if wrong:
        raise Mismatch(f"more than once, or null: {named(wrong)}")
    return f"{count:,} ids, all different"


def check_scores(contents: Contents, progress: Callable[[int], None]) -> str | None:
    """The kept rows of the score table are the rows of the data: same ids, same scores, same order."""
    if not contents.tables(SCORES):
        return None
    scored = _schema(contents, SCORES).names
    shared = [name for name in _schema(contents, DATA).names if name in scored and name not in OF_CANDIDATES]
    kept, offset = _kept(contents, shared), 0
    for group in contents.groups(DATA, shared):
        expected = kept.take(group.num_rows)
        if expected.num_rows < group.num_rows:
            raise Mismatch(f"the score table keeps {offset + expected.num_rows:,} rows; the data has more")
        for name in shared:
            pairs = zip(group[name].to_pylist(), expected[name].to_pylist(), strict=True)
            for row, (here, there) in enumerate(pairs, offset):
                if not _same(here, there) and not (name == "id" and str(here) == there):
                    raise Mismatch(f"{name} of row {row} is {short(here)}, in the score table {short(there)}")
        offset += group.num_rows
        progress(group.num_rows)
    if left := kept.count_rest():
        raise Mismatch(f"the score table keeps {offset + left:,} rows, the data has {offset:,}")
    return f"{offset:,} kept rows agree in {', '.join(shared)}"


def check_masks(contents: Contents, count: int) -> str | None:
    """A sample of masks: indices of known classes, of the size of the image, of the classes that were scored."""
    columns = [name for name in ("id", "image", "mask") if name in contents.info.features]
    if "mask" not in columns:
        return None
    labels, rows = contents.labels, contents.sample(count, columns).to_pylist()
    scored = _classes_scored(contents, [str(row["id"]) for row in rows]) if "id" in columns else {}
    for number, row in enumerate(rows):
        name = f"mask of {short(row['id'])}" if "id" in row else f"mask {number} of the sample"
        _check_mask(row, name, labels, scored.get(str(row.get("id"))))
    return f"{len(rows):,} masks decoded" + (", with the classes that were scored" if scored else "")


def _kept(contents: Contents, columns: list[str]) -> TableStream:
    """The kept rows of the score table, in order."""
    schema = pa.schema([_schema(contents, SCORES).field(name) for name in columns])
    groups = contents.groups(SCORES, ["kept", *columns])
    return TableStream(schema, (group.filter(group["kept"]) for group in groups))


def _same(here: Any, there: Any) -> bool:
    """Whether two cells hold the same; two of no number do."""
    return bool(here == there or (here != here and there != there))


def _schema(contents: Contents, folder: str) -> pa.Schema:
    with contents.snapshot.open(contents.tables(folder)[0].path) as file:
        return pq.read_schema(file)


def _classes_scored(contents: Contents, ids: list[str]) -> dict[str, list[int]]:
    """The classes of rows as the score table has them."""
    if not contents.tables(SCORES) or "classes_present" not in _schema(contents, SCORES).names:
        return {}
    classes_by_id: dict[str, list[int]] = {}
    for group in contents.groups(SCORES, ["id", "classes_present"]):
        rows = group.filter(pc.is_in(group["id"], pa.array(ids)))
        classes_by_id |= zip(rows["id"].to_pylist(), rows["classes_present"].to_pylist(), strict=True)
    return {name: classes for name, classes in classes_by_id.items() if classes is not None}


def _check_mask(row: Mapping[str, Any], name: str, labels: LabelSpace | None, scored: list[int] | None) -> None:
    mask = decode_mask(row["mask"], name)
    mode = Image.open(pa.BufferReader(row["mask"]["bytes"])).mode
    if mode not in MODES:
        raise Mismatch(f"{name}: mode {mode}; masks are 8-bit pictures of indices")
    if "image" in row and (size := decode_image(row["image"], f"image beside the {name}").shape[:2]) != mask.shape:
        raise Mismatch(f"{name}: {mask.shape[1]}x{mask.shape[0]} pixels, its image has {size[1]}x{size[0]}")
    if labels is None:
        return
    values = values_of(mask)
    if unknown := labels.unknown(values):
        raise Mismatch(f"{name}: {unknown} stand for no class of the label space {labels.name!r}")
    present = [value for value in values if value in labels.class_ids]
    if scored is not None and present != sorted(scored):
        raise Mismatch(f"{name}: shows the classes {present}, and when it was scored {sorted(scored)}")
