"""Masks stay indices from the first byte to the last; broken files are one-line errors."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sds_hf.data.images import (
    BadImageError,
    cell_bytes,
    check_picture,
    decode_image,
    decode_mask,
    encode_jpeg,
    encode_mask,
    pixel_count,
    values_of,
)
from sds_hf.data.labels import VOC

INDICES = np.array([[0, 1, 20], [255, 254, 7]], np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def palette_mask(indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices)
    image.putpalette([channel for color in VOC.palette for channel in color])
    return image


MASKS = {
    "L": Image.fromarray(INDICES),
    "P": palette_mask(INDICES),
    "I;16": Image.fromarray(INDICES.astype(np.uint16)),
    "RGB of equal channels": Image.fromarray(np.repeat(INDICES[..., None], 3, -1)),
    "RGBA of equal channels": Image.fromarray(
        np.concatenate([np.repeat(INDICES[..., None], 3, -1), INDICES[..., None]], -1)
    ),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_every_mode_keep_their_indices(name):
    np.testing.assert_array_equal(decode_mask({"bytes": saved(MASKS[name]), "path": None}), INDICES)
    np.testing.assert_array_equal(decode_mask(MASKS[name]), INDICES)


def test_binary_masks_are_zero_and_one():
    mask = Image.fromarray(np.array([[True, False]]))
    np.testing.assert_array_equal(decode_mask(saved(mask)), [[1, 0]])


@given(st.lists(st.lists(st.integers(0, 255), min_size=3, max_size=3), min_size=1, max_size=6))
def test_masks_survive_a_round_trip(values):
    mask = np.array(values, np.uint8)
    np.testing.assert_array_equal(decode_mask(encode_mask(mask)), mask)
    np.testing.assert_array_equal(decode_mask(saved(palette_mask(mask))), mask)


BAD_MASKS = {
    "colours": (
        saved(Image.new("RGB", (2, 2), (10, 20, 30))),
        r"mask a.png: holds colours, e.g. \(10, 20, 30\) at row 0",
    ),
    "jpeg": (saved(Image.new("L", (8, 8)), "JPEG"), "JPEG mask has lost its indices"),
    "large": (saved(Image.fromarray(np.array([[300]], np.uint16))), "holds the index 300; indices go from 0 to 255"),
    "float": (saved(Image.new("F", (2, 2)), "TIFF"), "mode F holds no class indices"),
    "grey with alpha": (saved(Image.new("LA", (2, 2))), "mode LA holds no class indices"),
    "nothing": (b"", r"the file is empty \(0 bytes\)"),
    "text": (b"not an image", "12 bytes that are no image"),
    "truncated": (saved(Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)))[:-100], "broken image data"),
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_bad_masks_say_what_is_wrong(name):
    data, message = BAD_MASKS[name]
    with pytest.raises(BadImageError, match=message) as caught:
        decode_mask({"bytes": data, "path": "a.png"}, "mask a.png")
    assert "\n" not in str(caught.value)


def test_missing_cells_and_files_say_so(tmp_path):
    with pytest.raises(BadImageError, match="image: the cell is empty"):
        decode_image(None)
    with pytest.raises(BadImageError, match="image: the cell is empty"):
        decode_image({"bytes": None, "path": None})
    with pytest.raises(BadImageError, match=r"cannot read .*gone.jpg: No such file"):
        decode_image(tmp_path / "gone.jpg")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_pictures_of_every_8_bit_mode_become_rgb(mode):
    source = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).convert(mode)
    data = saved(source, "TIFF" if mode == "CMYK" else "PNG")
    np.testing.assert_array_equal(decode_image(data), np.asarray(source.convert("RGB")))


def test_16_bit_pictures_are_refused_not_clipped():
    with pytest.raises(BadImageError, match="mode I;16 is no 8-bit picture"):
        decode_image(saved(Image.fromarray(np.array([[40000]], np.uint16))))


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_masks_of_few_bits_are_refused_not_scaled(bits):
    """Of such a PNG, Pillow makes 85 or 17 of 1; a palette of few entries is no matter."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(color):
        header, palette = struct.pack(">IIBBBBB", 8 // bits, 1, bits, color, 0, 0, 0), chunk(b"PLTE", bytes(6))
        pixels = chunk(b"IDAT", zlib.compress(b"\0\1"))
        return (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + (palette if color else b"") + pixels + chunk(b"IEND", b"")
        )

    with pytest.raises(BadImageError, match="a grey mask of 2 or 4 bits"):
        decode_mask(png(0))
    assert decode_mask(png(3)).ravel().tolist() == [0] * (8 // bits - 1) + [1]


def test_pictures_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    data = saved(Image.fromarray(np.zeros((4, 8, 3), np.uint8)), "JPEG", exif=exif)
    assert decode_image(data).shape == (8, 4, 3)


def test_decompression_bombs_are_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadImageError, match="too large"):
        decode_image(saved(Image.new("RGB", (100, 100))))


def test_cells_of_every_kind_are_read(tmp_path):
    picture = np.zeros((4, 6, 3), np.uint8)
    data = encode_jpeg(picture)
    (tmp_path / "a.jpg").write_bytes(data)
    path = tmp_path / "a.jpg"
    for cell in ({"bytes": data, "path": "x"}, path, data):
        assert cell_bytes(cell) == data
        assert decode_image(cell).shape == (4, 6, 3)
    for cell in (str(path), {"bytes": None, "path": str(path)}):
        with pytest.raises(BadImageError, match="a path in data of which nobody knows"):
            decode_image(cell)
    assert cell_bytes(Image.fromarray(picture)) is None
    assert decode_image(picture).shape == (4, 6, 3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.integers(1, 256))
def test_values_of_a_mask_are_those_that_occur(seed, height, width, count):
    mask = np.random.default_rng(seed).integers(0, count, (2 * height, 2 * width)).astype(np.uint8)
    for part in (mask, mask[::2, ::2], mask.T, np.asfortranarray(mask)):
        assert values_of(part) == np.unique(part).tolist()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 4}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_an_eighth_of_the_pixels_shows_what_all_of_them_show(mode, options):
    generator = np.random.default_rng(0)
    noise = Image.fromarray(generator.integers(0, 256, (20, 20, 3), np.uint8)).resize((120, 90)).convert(mode)
    data, refused = saved(noise, "JPEG", **options), 0
    for _ in range(150):
        broken = bytearray(data)
        for place in generator.integers(2, len(data), 3):
            broken[place] = generator.integers(0, 256)
        broken = bytes(broken[: generator.integers(20, 2 * len(data))])
        try:
            Image.open(io.BytesIO(broken), formats=("JPEG",)).load()
        except Exception:
            refused += 1
            with pytest.raises(BadImageError):
                check_picture(broken)
        else:
            check_picture(broken)
    assert 30 < refused < 150


def test_a_picture_of_the_users_own_is_checked_as_it_is():
    picture = Image.open(io.BytesIO(encode_jpeg(np.zeros((64, 64, 3), np.uint8))))
    check_picture(picture)
    assert picture.size == (64, 64)


def test_pixels_are_counted_by_the_header():
    assert pixel_count(encode_jpeg(np.zeros((4, 6, 3), np.uint8))) == pixel_count(np.zeros((4, 6), np.uint8)) == 24
    assert pixel_count(b"junk") == pixel_count(None) == 0
