"""npz archives and CUB-200-2011 become folders that load as few-shot images."""

from pathlib import Path

import numpy as np
import pytest
from command_line import rejects, succeeds
from PIL import Image

from metarl.envs.images.image_set import load_images

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(256, size=(6, 5, 4, 3), dtype=np.uint8)
NUMBERS = np.array([1, 0, 1, 0, 1, 10])


def archive(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def pixels_of(folder: Path, split: str, label: str) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted((folder / split / label).iterdir())]


def test_an_archive_per_split(tmp_path):
    train = archive(tmp_path / "mini_train.npz", images=PIXELS, labels=NUMBERS)
    val = archive(tmp_path / "mini-val.npz", images=PIXELS[:2], labels=NUMBERS[:2])
    out = tmp_path / "new" / "folder"
    text = succeeds("data", "npz", train, val, "--out", out)
    assert "1 to 3" in text and f"Written: {out}" in text
    np.testing.assert_array_equal(pixels_of(out, "train", "train-01"), PIXELS[[0, 2, 4]])
    np.testing.assert_array_equal(pixels_of(out, "train", "train-10"), PIXELS[[5]])
    np.testing.assert_array_equal(pixels_of(out, "val", "val-0"), PIXELS[[1]])
    images = load_images(out, "train", 4)
    assert images.classes == ("train-00", "train-01", "train-10") and images.counts.tolist() == [2, 3, 1]


def test_all_splits_in_one_compressed_archive(tmp_path):
    np.savez_compressed(
        tmp_path / "omniglot.npz",
        train_images=PIXELS[..., 0],
        train_labels=np.array(["a", "b", "a", "b", "a/c", ".d"]),
        test_x=np.moveaxis(PIXELS, -1, 1),
        test_y=np.array([b"e"] * 6),
        other=np.zeros(3),
    )
    succeeds("data", "npz", tmp_path / "omniglot.npz", "--out", tmp_path / "out")
    np.testing.assert_array_equal(pixels_of(tmp_path / "out", "train", "a"), np.stack([PIXELS[[0, 2], ..., 0]] * 3, -1))
    np.testing.assert_array_equal(pixels_of(tmp_path / "out", "test", "e"), PIXELS)
    assert sorted(path.name for path in (tmp_path / "out/train").iterdir()) == ["-d", "a", "a-c", "b"]


@pytest.mark.parametrize(
    ("name", "arrays", "sentence"),
    [
        (
            "train.npz",
            {"pictures": PIXELS},
            "train.npz holds the arrays pictures: expected images",
        ),
        ("mini.npz", {"images": PIXELS, "labels": NUMBERS}, "mini.npz must tell its split: train, val or test"),
        ("train.npz", {"images": PIXELS, "labels": NUMBERS[:5]}, "has 6 images in images and 5 labels"),
        (
            "train.npz",
            {"images": PIXELS / 255, "labels": NUMBERS},
            "must be bytes [image, height, width, 3], or gray",
        ),
        ("train.npz", {"images": PIXELS[..., :2], "labels": NUMBERS}, "got uint8 [6, 5, 4, 2]"),
        (
            "train.npz",
            {"images": PIXELS, "labels": np.ones(6)},
            "one number or text per image, got float64 [6]",
        ),
        ("train.npz", {"images": PIXELS, "labels": np.array([{}] * 6)}, "labels of"),
        ("train.npz", {"images": np.array([{}] * 6), "labels": NUMBERS}, "must be bytes"),
        ("train.npz", {"images": np.asfortranarray(PIXELS), "labels": NUMBERS}, "is stored column by column"),
        (
            "train.npz",
            {"images": PIXELS, "labels": NUMBERS, "train_images": PIXELS, "train_labels": NUMBERS},
            "the split train is in the archives 2 times",
        ),
    ],
)
def test_archives_that_are_refused(tmp_path, name, arrays, sentence):
    path = archive(tmp_path / name, **arrays)
    assert sentence in rejects("data", "npz", path, "--out", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == [path]


def test_damaged_archives_are_refused(tmp_path):
    path = archive(tmp_path / "train.npz", images=PIXELS, labels=NUMBERS)
    content = path.read_bytes()
    path.write_bytes(b"no archive")
    assert f"cannot read {path}: it is no npz archive" in rejects("data", "npz", path, "--out", tmp_path / "out")
    path.write_bytes(content[:300] + bytes([content[300] ^ 1]) + content[301:])
    assert "train.npz" in rejects("data", "npz", path, "--out", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == [path]
    assert "No such file" in rejects("data", "npz", tmp_path / "none.npz", "--out", tmp_path / "out")


@pytest.fixture
def birds(tmp_path) -> Path:
    """Five classes of two images; each bird is white on black, where its box says."""
    folder = tmp_path / "CUB_200_2011"
    lines, boxes = [], []
    for number in range(10):
        name = f"{number // 2 + 1:03}.Bird/Bird_{number:04}.jpg"
        left, top = 3.0 * number, 40.0
        pixels = np.zeros((80, 100, 3), np.uint8)
        pixels[int(top) : int(top) + 24, int(left) : int(left) + 16] = 255
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=100, subsampling=0)
        lines.append(f"{number + 1} {name}")
        boxes.append(f"{number + 1} {left} {top} 16.0 24.0")
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    (folder / "bounding_boxes.txt").write_text("\n".join(boxes) + "\n")
    (folder / "classes.txt").write_text("\n".join(f"{number} {number:03}.Bird" for number in range(1, 6)))
    return tmp_path


def test_birds_are_cut_out(birds, tmp_path):
    succeeds("data", "cub", birds, "--out", tmp_path / "cut", "--side", 16)
    for split, classes in (
        ("train", ("001.Bird", "003.Bird", "005.Bird")),
        ("val", ("002.Bird",)),
        ("test", ("004.Bird",)),
    ):
        images = load_images(tmp_path / "cut", split, 16)
        assert images.classes == classes and images.counts.tolist() == [2] * len(classes)
        assert images.pixels.min() > 200


def test_birds_without_boxes_are_told(birds, tmp_path):
    boxes = birds / "CUB_200_2011" / "bounding_boxes.txt"
    lines = boxes.read_text().splitlines()
    for text, sentence in (
        ("\n".join(lines[:-1]), "bounding_boxes.txt states no bounding box of images/005.Bird/Bird_0009.jpg"),
        ("1 2 3\n", "must have lines NUMBER PATH, and"),
        ("\n".join(lines).replace("40.0", "400.0"), "lies outside the image"),
    ):
        boxes.write_text(text)
        assert sentence in rejects("data", "cub", birds, "--out", tmp_path / "cut")
    boxes.unlink()
    assert "there is no bounding_boxes.txt" in rejects("data", "cub", birds, "--out", tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
