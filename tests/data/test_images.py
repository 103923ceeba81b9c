"""Masks stay indices from the first byte to the last; broken files are one-line errors."""

import io
import struct
import zlib

import datasets
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
    picture_size,
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


def png(bits, color, rows, width, *between):
    """A PNG of raw rows, as encoders other than Pillow's write them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, color, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    inner = b"".join(chunk(*each) for each in between)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + inner + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_masks_of_few_bits_are_refused_not_scaled(bits):
    """Of such a PNG, Pillow makes 85 or 17 of 1; a palette of few entries is no matter."""
    with pytest.raises(BadImageError, match="a grey mask of 2 or 4 bits"):
        decode_mask(png(bits, 0, [b"\1"], 8 // bits))
    with_palette = png(bits, 3, [b"\1"], 8 // bits, (b"PLTE", bytes(6)))
    assert decode_mask(with_palette).ravel().tolist() == [0] * (8 // bits - 1) + [1]


def inverted_tiff(mask: Image.Image) -> bytes:
    """A TIFF whose tag 262 (PhotometricInterpretation) says that white is 0, as scanners and fax tools write it."""
    data = bytearray(saved(mask, "TIFF"))
    start = struct.unpack("<I", data[4:8])[0]
    for entry in range(start + 2, start + 2 + 12 * struct.unpack("<H", data[start : start + 2])[0], 12):
        if struct.unpack("<H", data[entry : entry + 2])[0] == 262:
            data[entry + 8 : entry + 10] = struct.pack("<H", 0)
    return bytes(data)


SHOWN = np.zeros((16, 16), np.uint8)
SHOWN[4:9, 4:9] = 15
GREY = Image.fromarray(SHOWN)
RGB = Image.merge("RGB", [GREY] * 3)
CHANGED = {  # by the decoder: other values come out than were stored
    "PNG of 16 bits a channel": (png(16, 2, [struct.pack(">3H", 15, 15, 15)], 1), "other than 8 bits"),
    "PNG of 16 bits with alpha": (png(16, 6, [struct.pack(">4H", 15, 15, 15, 65535)], 1), "other than 8 bits"),
    "PNG of 16-bit grey with alpha": (png(16, 4, [struct.pack(">2H", 15, 65535)], 1), "other than 8 bits"),
    "WebP": (saved(RGB, "WEBP", quality=90), "WebP mask that is not lossless"),
    "WebP with a header": (saved(RGB, "WEBP", quality=90, exif=b"Exif\0\0"), "WebP mask that is not lossless"),
    "TIFF of JPEG": (saved(GREY, "TIFF", compression="jpeg"), "TIFF mask compressed as jpeg"),
    "TIFF with white at 0": (inverted_tiff(GREY), "stored inverted"),
    "PGM to 20": (b"P5 2 2 20\n" + bytes([0, 1, 15, 20]), "greys end at 20"),
    "PGM to 20 as text": (b"P2 2 2 20\n0 1 15 20\n", "greys end at 20"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_masks_that_a_decoder_changes_are_refused(name):
    data, message = CHANGED[name]
    with pytest.raises(BadImageError, match=message):
        decode_mask(data)


KEPT = {
    "WebP": saved(RGB, "WEBP", lossless=True),
    "WebP with a header": saved(RGB, "WEBP", lossless=True, exif=b"Exif\0\0"),
    "TIFF": saved(GREY, "TIFF", compression="tiff_lzw"),
    "PGM": saved(GREY, "PPM"),
    "PGM of 16 bits": b"P5 16 16 65535\n" + SHOWN.astype(">u2").tobytes(),
    "BMP": saved(GREY, "BMP"),
}


@pytest.mark.parametrize("name", KEPT)
def test_masks_of_formats_that_lose_nothing_are_read(name):
    np.testing.assert_array_equal(decode_mask(KEPT[name]), SHOWN)


def test_bitmaps_of_one_bit_are_read():
    assert decode_mask(b"P1 2 2\n0 1 1 0\n").tolist() == [[1, 0], [0, 1]]  # 1 is black there


def test_shapes_in_transparency_alone_are_no_indices():
    hidden = Image.merge("RGBA", [Image.new("L", GREY.size)] * 3 + [GREY])
    for cell in (saved(hidden), hidden, np.asarray(hidden)):
        with pytest.raises(BadImageError, match="all its shapes are in its transparency"):
            decode_mask(cell)


def sorted_anew(colors: list[tuple[int, int, int]]) -> bytes:
    """A palette PNG whose values 0, 1, 2 have these colours, as optimizers write them."""
    mask = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    mask.putpalette([channel for color in colors for channel in color])
    return saved(mask)


@pytest.mark.parametrize(
    "colors",
    [
        [VOC.palette[0], VOC.palette[15], VOC.palette[3]],
        [(0,) * 3, (3,) * 3, (15,) * 3],
        [(0,) * 3, (1,) * 3, (255,) * 3],
    ],
)
def test_a_palette_with_the_colours_or_greys_of_other_indices_proves_them_wrong(colors):
    with pytest.raises(BadImageError, match="sorted its palette anew"):
        decode_mask(sorted_anew(colors), value_of=VOC.value_of_color)
    assert decode_mask(sorted_anew(colors)).tolist() == [[0, 1, 2]]  # nobody knows what colours mean


@pytest.mark.parametrize(
    "colors",
    [
        [*VOC.palette[:3]],
        [(0,) * 3, (127,) * 3, (255,) * 3],
        [(255,) * 3, (0,) * 3, (250, 0, 0)],
        [(0,) * 3, (1,) * 3, (2,) * 3],
    ],
)
def test_palettes_for_display_prove_nothing(colors):
    assert decode_mask(sorted_anew(colors), value_of=VOC.value_of_color).tolist() == [[0, 1, 2]]


def test_black_and_white_are_for_display():
    mask = Image.fromarray(np.array([[0, 1]], np.uint8))
    mask.putpalette([0, 0, 0, 255, 255, 255])
    assert decode_mask(saved(mask), value_of=VOC.value_of_color).tolist() == [[0, 1]]


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("turn", [1, 2, 3, 6, 8])
def test_pictures_and_masks_are_turned_once_as_datasets_turns_them(kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"tiffinfo": {0x0112: turn}} if kind == "TIFF" else {"exif": exif, "lossless": True}
    data = saved(Image.fromarray(np.arange(96, dtype=np.uint8).reshape(4, 8, 3)), kind, **options)
    decoded = np.asarray(datasets.Image().decode_example({"bytes": data, "path": None}).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data), decoded)
    assert picture_size(data) == decoded.shape[:2]
    if kind in ("TIFF", "PNG"):
        data = saved(Image.fromarray(np.arange(32, dtype=np.uint8).reshape(4, 8)), kind, **options)
        decoded = np.asarray(datasets.Image().decode_example({"bytes": data, "path": None}))
        np.testing.assert_array_equal(decode_mask(data), decoded)


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
