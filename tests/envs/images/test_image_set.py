"""The cache of decoded images: what it holds, when it is used again and when it is built anew."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metarl.envs.images import image_set
from metarl.envs.images.image_set import load_images

GREY = {"train/b/1.png": 10, "train/b/2.png": 20, "train/a/1.png": 30, "test/c/1.png": 40}


def put(root: Path, name: str, grey: int, side: int = 4) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (side, side), grey).save(root / name)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users-cache"))
    for name, grey in GREY.items():
        put(tmp_path / "data", name, grey)
    return tmp_path / "data"


@pytest.fixture
def decoded(monkeypatch):
    """The names of the images that are decoded from now on."""
    names = []

    def decode(path, side):
        names.append(path.name)
        return original(path, side)

    original = image_set.decode
    monkeypatch.setattr(image_set, "decode", decode)
    return names


def greys(images):
    assert (images.pixels == images.pixels[:, :1, :1, :1]).all()
    return images.pixels[:, 0, 0, 0].tolist()


def test_images_stand_class_by_class(root):
    images = load_images(root, "train", 4)
    assert images.pixels.shape == (3, 4, 4, 3)
    assert greys(images) == [30, 10, 20]
    assert images.classes == ("a", "b")
    assert images.labels.tolist() == [0, 1, 1]
    assert images.counts.tolist() == [1, 2]
    assert images.side == 4
    assert greys(load_images(root, "test", 4)) == [40]


def test_the_pixels_are_mapped_not_read(root):
    images = load_images(root, "train", 4)
    assert isinstance(images.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images.pixels[0] = 0


def test_the_second_time_nothing_is_decoded(root, decoded):
    first = load_images(root, "train", 4)
    assert len(decoded) == 3
    second = load_images(root, "train", 4)
    assert len(decoded) == 3
    np.testing.assert_array_equal(first.pixels, second.pixels)


def test_the_index_names_file_and_class_of_each_image(root):
    load_images(root, "train", 4)
    (index,) = (root / ".metarl-cache").glob("train-4-*.json")
    content = json.loads(index.read_text())
    assert content["classes"] == ["a", "b"]
    assert [row[:2] for row in content["images"]] == [["train/a/1.png", 0], ["train/b/1.png", 1], ["train/b/2.png", 1]]
    (pixels,) = (root / ".metarl-cache").glob("train-4-*.npy")
    assert pixels.stem == index.stem
    np.testing.assert_array_equal(np.load(pixels)[:, 0, 0, 0], [30, 10, 20])


def test_a_changed_file_is_decoded_again_and_the_old_cache_goes(root):
    load_images(root, "train", 4)
    # The same size in bytes: the time of change tells.
    put(root, "train/b/1.png", 11)
    os.utime(root / "train/b/1.png", ns=(1, 1))
    assert greys(load_images(root, "train", 4)) == [30, 11, 20]
    assert len(list((root / ".metarl-cache").glob("train-4-*"))) == 2


def test_new_lost_and_moved_files_are_noticed(root):
    load_images(root, "train", 4)
    put(root, "train/c2/1.png", 50)
    (root / "train/b/1.png").unlink()
    (root / "train/a/1.png").rename(root / "train/b/0.png")
    put(root, "train/a/9.png", 60)
    images = load_images(root, "train", 4)
    assert greys(images) == [60, 30, 20, 50]
    assert images.classes == ("a", "b", "c2")


def test_sides_and_splits_have_their_own_caches(root, decoded):
    load_images(root, "train", 4)
    assert load_images(root, "train", 2).pixels.shape == (3, 2, 2, 3)
    load_images(root, "test", 4)
    before = len(decoded)
    load_images(root, "train", 4)
    load_images(root, "train", 2)
    load_images(root, "test", 4)
    assert len(decoded) == before == 7


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: next(folder.glob("*.npy")).write_bytes(b""),
        lambda folder: next(folder.glob("*.npy")).write_bytes(b"no array at all" * 100),
        lambda folder: os.truncate(next(folder.glob("*.npy")), 150),
        lambda folder: np.save(next(folder.glob("*.npy")), np.zeros((3, 4, 4, 3), dtype=np.float32)),
        lambda folder: np.save(next(folder.glob("*.npy")), np.zeros((2, 4, 4, 3), dtype=np.uint8)),
        lambda folder: np.save(next(folder.glob("*.npy")), np.array([{}] * 3), allow_pickle=True),
        lambda folder: next(folder.glob("*.npy")).unlink(),
        lambda folder: next(folder.glob("*.json")).unlink(),
        lambda folder: next(folder.glob("*.json")).write_text("{"),
    ],
)
def test_a_damaged_cache_is_built_anew(root, decoded, damage):
    load_images(root, "train", 4)
    damage(root / ".metarl-cache")
    assert greys(load_images(root, "train", 4)) == [30, 10, 20]
    assert len(decoded) == 6


def test_many_images_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(image_set, "BLOCK", 7)
    for number in range(40):
        put(tmp_path, f"train/{number // 20}/{number:02}.png", 5 * number)
    calls = []
    images = load_images(tmp_path, "train", 4, progress=lambda done, total: calls.append((done, total)))
    assert greys(images) == list(range(0, 200, 5))
    assert calls == [(7, 40), (14, 40), (21, 40), (28, 40), (35, 40), (40, 40)]


def test_a_cache_folder_of_ones_own(root, tmp_path, decoded):
    load_images(root, "train", 4, cache=tmp_path / "mine/deep")
    assert not (root / ".metarl-cache").exists()
    load_images(root, "train", 4, cache=tmp_path / "mine/deep")
    assert len(decoded) == 3


def test_data_that_cannot_be_written_are_cached_with_the_user(root, tmp_path, decoded):
    (root / ".metarl-cache").write_text("a file where the folder should be")
    assert greys(load_images(root, "train", 4)) == [30, 10, 20]
    assert len(list((tmp_path / "users-cache").rglob("train-4-*.npy"))) == 1
    load_images(root, "train", 4)
    assert len(decoded) == 3


def test_nowhere_to_write(root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be kept in .*file/cache .Not a directory.: name another cache folder"):
        load_images(root, "train", 4, cache=tmp_path / "file/cache")


def test_a_full_disk_leaves_nothing_behind(root, tmp_path, monkeypatch):
    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(ValueError, match="No space left on device.*nor in .*No space left on device"):
        load_images(root, "train", 4)
    assert [path.name for path in (root / ".metarl-cache").iterdir()] == [".gitignore"]


def test_an_unreadable_image_is_named_and_nothing_is_kept(root):
    (root / "train/b/2.png").write_bytes((root / "train/b/2.png").read_bytes()[:50])
    with pytest.raises(ValueError, match="the image .*train/b/2.png cannot be read"):
        load_images(root, "train", 4)
    assert [path.name for path in (root / ".metarl-cache").iterdir()] == [".gitignore"]


def test_a_missing_split_is_named(root):
    with pytest.raises(ValueError, match="has no split 'val': it has train and test"):
        load_images(root, "val", 4)


def test_a_side_of_nothing(root):
    with pytest.raises(ValueError, match="must be at least 1 pixel, got 0"):
        load_images(root, "train", 0)
