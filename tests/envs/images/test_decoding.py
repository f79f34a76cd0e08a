"""Pixels of images in every colour mode, against values worked by hand; damaged files."""

import numpy as np
import pytest
from PIL import Image

from metarl.envs.images.decoding import Crop, decode


def saved(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (4, 4), (10, 20, 30)), (10, 20, 30)),
        (Image.new("L", (4, 4), 77), (77, 77, 77)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        # 16-bit grey 257 * 200 is 200 of 255.
        (Image.fromarray(np.full((4, 4), 51400, np.uint16)), (200, 200, 200)),
        # What is fully transparent shows white, whatever its hidden colour.
        (Image.new("RGBA", (4, 4), (10, 20, 30, 0)), (255, 255, 255)),
        # A fifth of the colour, four fifths of white: 10 / 5 + 255 * 4 / 5 = 206, and so on.
        (Image.new("RGBA", (4, 4), (10, 20, 30, 51)), (206, 208, 210)),
        (Image.new("LA", (4, 4), (0, 51)), (204, 204, 204)),
    ],
)
def test_colours(tmp_path, image, expected):
    pixels = decode(saved(tmp_path, image), 4)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.uint8(expected), (4, 4, 3)))


def test_palette_with_and_without_a_transparent_colour(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 100, 0])
    image.putpixel((1, 0), 1)
    opaque = decode(saved(tmp_path, image), 2)[0]
    np.testing.assert_array_equal(opaque, [[200, 0, 0], [0, 100, 0]])
    transparent = decode(saved(tmp_path, image, transparency=1), 2)[0]
    np.testing.assert_array_equal(transparent, [[200, 0, 0], [255, 255, 255]])


def test_cmyk(tmp_path):
    pixels = decode(saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "image.jpg"), 8)
    np.testing.assert_allclose(pixels, np.broadcast_to([254, 0, 0], (8, 8, 3)), atol=4)


def test_any_size_becomes_a_square(tmp_path):
    """The left half black and the right half white, before and after."""
    image = Image.new("RGB", (60, 20))
    image.paste("white", (30, 0, 60, 20))
    pixels = decode(saved(tmp_path, image), 10)
    assert pixels.shape == (10, 10, 3)
    assert (pixels[:, :3] < 10).all() and (pixels[:, 7:] > 245).all()


# What a camera stores for an image whose left column is red, by the EXIF orientation: which side of it is red.
@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, "left"),
        (2, "right"),
        (3, "right"),
        (4, "left"),
        (5, "top"),
        (6, "bottom"),
        (7, "bottom"),
        (8, "top"),
    ],
)
@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
def test_images_are_turned_as_their_exif_data_say(tmp_path, orientation, stored, name):
    pixels = np.zeros((16, 16, 3), np.uint8)
    side = {"left": np.s_[:, :8], "right": np.s_[:, 8:], "top": np.s_[:8], "bottom": np.s_[8:]}[stored]
    pixels[side] = 255, 0, 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = decode(saved(tmp_path, Image.fromarray(pixels), name, exif=exif, quality=95), 16)
    assert (seen[:, :7, 0] > 200).all() and (seen[:, 9:, 0] < 60).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_turn_nothing(tmp_path):
    path = saved(
        tmp_path, Image.new("RGB", (8, 8), "red"), "image.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff nonsense"
    )
    assert decode(path, 8)[0, 0, 0] > 200


def test_images_that_are_too_large_are_told_so(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.new("1", (20000, 1000)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000_000)
    sentence = r"image.png cannot be read: it is too large \(20 million pixels\): at most 10 million pixels are allowed"
    with pytest.raises(ValueError, match=sentence):
        decode(path, 8)


def test_crops(tmp_path):
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[5:15, 20:28] = 255
    path = saved(tmp_path, Image.fromarray(pixels))
    assert (decode(path, 8, Crop(20.2, 4.9, 7.9, 10.3)) == 255).all()
    assert decode(path, 8, Crop(20, 5, 100, 100)).mean() < 255, "a box beyond the border is cut to the image"
    with pytest.raises(ValueError, match=r"the bounding box \(40, 5, 10, 10\) lies outside the image .* of 30 x 20 pi"):
        decode(path, 8, Crop(40, 5, 10, 10))


@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
@pytest.mark.parametrize("kept", [0, 30, 0.5, 0.9])
def test_truncated_images_are_named(tmp_path, name, kept):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), name)
    content = path.read_bytes()
    path.write_bytes(content[: kept if kept >= 1 else int(kept * len(content))])
    with pytest.raises(ValueError, match=f"the image .*{name} cannot be read: it is truncated or no image"):
        decode(path, 16)


def test_every_damaged_byte_gives_pixels_or_a_sentence(tmp_path):
    path = saved(tmp_path, Image.new("P", (3, 3)))
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        try:
            outcome = str(decode(path, 3).shape)
        except ValueError as error:
            outcome = str(error)
        assert outcome == "(3, 3, 3)" or outcome.startswith(f"the image {path} cannot be read: ")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="cannot be read: No such file or directory"):
        decode(tmp_path / "none.png", 3)
