"""Pixels of images in every colour mode, against values worked by hand; damaged files."""

import numpy as np
import pytest
from PIL import Image

from metarl.envs.images.decoding import decode


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
