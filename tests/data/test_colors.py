"""Palettes of mask files: colours for those who look, the same indices for those who read as we do."""

import io

import numpy as np
import pytest
from PIL import Image

from sds_hf.data.colors import with_palette
from sds_hf.data.images import decode_mask, encode_jpeg, encode_mask
from sds_hf.data.labels import VOC

MASK = np.random.default_rng(0).choice(np.array([0, 1, 15, 254, 255], np.uint8), (37, 29))


def test_a_palette_changes_colours_and_no_index():
    png = with_palette(encode_mask(MASK), VOC.palette)
    image = Image.open(io.BytesIO(png))
    assert image.mode == "P"
    assert (np.asarray(image) == MASK).all()
    assert (decode_mask(png) == MASK).all()
    assert (np.asarray(image.convert("RGB")) == np.array(VOC.palette, np.uint8)[MASK]).all()
    assert with_palette(png, VOC.palette) == png


def test_what_means_something_else_with_a_palette_goes():
    buffer = io.BytesIO()
    Image.fromarray(MASK).save(buffer, "PNG", transparency=0)
    image = Image.open(io.BytesIO(with_palette(buffer.getvalue(), VOC.palette)))
    assert (np.asarray(image) == MASK).all()
    assert "transparency" not in image.info


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"abc",
        encode_mask(MASK)[:20],
        encode_mask(MASK.astype(np.uint16)),
        encode_jpeg(np.zeros((4, 4, 3), np.uint8)),
    ],
)
def test_what_is_no_index_png_is_refused(data):
    with pytest.raises(ValueError, match="a palette needs masks that are PNGs of 8-bit indices"):
        with_palette(data, VOC.palette)


def test_opencv_reads_colours_where_there_is_a_palette():
    """Why masks are published without one unless it is asked for."""
    cv2 = pytest.importorskip("cv2")
    plain = np.frombuffer(encode_mask(MASK), np.uint8)
    colored = np.frombuffer(with_palette(encode_mask(MASK), VOC.palette), np.uint8)
    assert (cv2.imdecode(plain, cv2.IMREAD_UNCHANGED) == MASK).all()
    assert cv2.imdecode(colored, cv2.IMREAD_UNCHANGED).shape == (*MASK.shape, 3)
    assert not (cv2.imdecode(colored, cv2.IMREAD_GRAYSCALE) == MASK).all()
