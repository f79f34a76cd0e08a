"""Each layout of few-shot image data, on folders of a few tiny images."""

from pathlib import Path

import pytest
from PIL import Image

from metarl.envs.images.layouts import cub_split, find_images


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2), "red").save(path)


def test_folders_of_classes(tmp_path):
    for name in ("train/dog/b.png", "train/dog/a.JPG", "train/cat/1.jpeg", "test/owl/x.png"):
        put(tmp_path / name)
    (tmp_path / "train/dog/notes.txt").write_text("no image")
    (tmp_path / "train/dog/._a.jpg").write_text("left behind by macOS")
    (tmp_path / "train/.hidden").mkdir()
    (tmp_path / "train/empty").mkdir()
    assert find_images(tmp_path) == {
        "train": {
            "cat": (Path("train/cat/1.jpeg"),),
            "dog": (Path("train/dog/a.JPG"), Path("train/dog/b.png")),
            "empty": (),
        },
        "test": {"owl": (Path("test/owl/x.png"),)},
    }


def test_tables_of_images(tmp_path):
    """As miniImageNet is often unpacked."""
    for name in ("n01.jpg", "n02.jpg", "n03.jpg", "n9/n04.jpg"):
        put(tmp_path / "images" / name)
    (tmp_path / "train.csv").write_text("filename,label\nn02.jpg,n1\nn01.jpg,n1\n")
    (tmp_path / "val.csv").write_text("label,filename\nn3,n03.jpg\n")
    (tmp_path / "test.csv").write_text("filename,label\nn9/n04.jpg,n9\n")
    assert find_images(tmp_path) == {
        "train": {"n1": (Path("images/n01.jpg"), Path("images/n02.jpg"))},
        "val": {"n3": (Path("images/n03.jpg"),)},
        "test": {"n9": (Path("images/n9/n04.jpg"),)},
    }


@pytest.mark.parametrize(
    "table", ["\ufefffilename,label\r\na.png,x\r\n", "filename;label\na.png;x\n", "label\tfilename\nx\ta.png\n"]
)
def test_tables_as_excel_writes_them(tmp_path, table):
    put(tmp_path / "images/a.png")
    (tmp_path / "train.csv").write_bytes(table.encode("utf-8"))
    assert find_images(tmp_path) == {"train": {"x": (Path("images/a.png"),)}}


@pytest.mark.parametrize("parent", ["", "CUB_200_2011"])
def test_birds(tmp_path, parent):
    folder = tmp_path / parent
    for number in range(1, 9):
        put(folder / f"images/{number:03}.Bird/Bird_0001.jpg")
    (folder / "classes.txt").write_text("1 001.Bird\n")
    found = find_images(tmp_path)
    assert {split: [name[:3] for name in classes] for split, classes in found.items()} == {
        "train": ["001", "003", "005", "007"],
        "val": ["002", "006"],
        "test": ["004", "008"],
    }
    assert found["val"]["002.Bird"] == (Path(parent, "images/002.Bird/Bird_0001.jpg"),)


def test_the_split_of_all_birds():
    split = cub_split({f"{number:03}": () for number in range(1, 201)})
    assert [len(split[name]) for name in ("train", "val", "test")] == [100, 50, 50]
    assert not (set(split["train"]) & set(split["val"]) or set(split["val"]) & set(split["test"]))


def test_a_class_in_two_splits_is_refused(tmp_path):
    for name in ("train/dog/a.png", "val/cat/a.png", "test/dog/b.png"):
        put(tmp_path / name)
    with pytest.raises(ValueError, match="the class 'dog' of .* is both in train and in test"):
        find_images(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no few-shot images: expected folders train, val and test"),
        ({"train/dog/a.txt": ""}, "the split train of .* holds no png or jpg image"),
        ({"train_images_png.pkl": ""}, "holds pickles, which could run foreign code"),
        ({"train.csv": "file,label\n", "images/a.png": ""}, "csv must have .*filename and label, it has file, label"),
        ({"train.csv": "filename,label\na.png,x\nb.png,x\n", "images/a.png": ""}, "line 3 of .*'b.png'"),
        ({"train.csv": "filename,label\na.png\n", "images/a.png": ""}, "line 2 of .*train.csv names no image"),
        ({"train.csv": "filename,label\n" + "a" * 200_000, "images/a.png": ""}, "train.csv is no table: field larger"),
        ({"train.csv": "filename,label\n", "images/a.png": ""}, "the split train of .* holds no png or jpg image"),
    ],
)
def test_what_is_no_data(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        find_images(tmp_path)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(ValueError, match="there is no folder .*nowhere"):
        find_images(tmp_path / "nowhere")
