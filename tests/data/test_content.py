"""What a dataset holds, as digests."""

import json
from hashlib import sha256

from datasets import Dataset
from support.rows import random_dataset, random_row

from sds_hf.data.cells import readable, stored_cells, stored_content
from sds_hf.data.content import cell_digests, content_digest, row_digests
from sds_hf.data.folder import row_features
from sds_hf.data.labels import VOC


def test_a_digest_is_of_names_lengths_and_bytes():
    rows, joint = [random_row(index) for index in range(3)], sha256()
    dataset = Dataset.from_list(rows, features=row_features(VOC)).select_columns(["id", "image", "mask", "classes"])
    for cells in rows:
        row = sha256(b'["image", "mask", "classes", "id"]')
        texts = (json.dumps(cells[name]).encode() for name in ("classes", "id"))
        for data in (cells["image"]["bytes"], cells["mask"]["bytes"], *texts):
            row.update(len(data).to_bytes(8, "little") + data)
        joint.update(row.digest())
    assert content_digest(dataset) == joint.hexdigest()


def test_bytes_are_hashed_where_they_lie():
    """A copy would take a third as long as the hashing."""
    stored = readable(random_dataset(5))
    cells = stored_content(stored, range(1, 4))
    assert {type(cell) for name in ("image", "mask") for cell in cells[name]} == {memoryview}
    assert cell_digests(cells) == cell_digests(stored_cells(stored, range(1, 4))) == list(row_digests(stored))[1:4]
