"""``metarl data`` on a small package of icons made for the purpose, whose pictures are known."""

import base64
import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from command_line import metarl, rejects, succeeds
from PIL import Image

from metarl.experiments.datasets import emoji, icons, package
from metarl.experiments.datasets.build import spread
from metarl.experiments.datasets.package import Drawing, svg

EMOJI = Path(__file__).parents[2] / "fixtures" / "emoji"
SPDX = {"noto": "Apache-2.0", "openmoji": "CC-BY-SA-4.0"}


def square(color, size=8, at=0):
    return {"body": f'<rect x="{at}" width="{size}" height="{size}" fill="{color}"/>'}


def about(style, **more):
    spdx = SPDX.get(style, "MIT")
    author = {"name": f"author of {style}", "url": f"https://{style}.example"}
    return {"name": style.title(), "author": author, "license": {"title": spdx, "spdx": spdx}, **more}


def emoji_set(number):
    """A style that draws each emoji in its own grey, by its own names."""
    names = ["hammer", "pizza", "cat", "flag", "one-oclock", "cricket-game"]
    if number == 1:
        names = ["mallet" if name == "hammer" else name for name in names]
    if number == 2:
        names = [name.replace("-", "") for name in names]
    if number < 7:
        names.append("rare")
    if number < 5:
        names.append("cricket")
    icon_set = {"icons": {name: square(f"rgb({10 * number},0,0)") for name in names}, "width": 8, "height": 8}
    if number == 0:
        icon_set["categories"] = {
            "Objects": ["hammer", "rare"],
            "Food & Drink": ["pizza"],
            "Animals & Nature": ["cat", "cricket"],
            "Travel & Places": ["one-oclock"],
            "Activities": ["cricket-game"],
            "Flags": ["flag"],
        }
    if number == 3:
        icon_set["aliases"] = {"mallet": {"parent": "hammer"}, "cricket": {"parent": "cricket-game"}}
    if number == 4:
        icon_set["aliases"] = {"pizza": {"parent": "cat", "hFlip": True}}
    return icon_set


EMOJI_SETS = {style: emoji_set(number) for number, style in enumerate(emoji.STYLES)}
ICON_SETS = {f"set-{number:02}": {"icons": {"home": square(f"rgb(0,0,{number})", 16)}} for number in range(24)}
# Nothing to see; the same as another; not to be shown.
ICON_SETS["set-20"]["icons"]["home"] = {"body": ""}
ICON_SETS["set-21"]["icons"]["home"] = ICON_SETS["set-00"]["icons"]["home"]
ICON_SETS["set-22"]["icons"]["home"] = square("red") | {"hidden": True}
for _number in range(20):
    # Of these nineteen pictures are left.
    ICON_SETS[f"set-{_number:02}"]["icons"]["work"] = square("red", max(1, _number))
COLLECTIONS = {style: about(style, category="Emoji") for style in EMOJI_SETS} | {
    style: about(style, category="UI 24px") for style in ICON_SETS
}


@pytest.fixture(scope="module")
def tarball(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "small.tgz"
    files = {"collections.json": COLLECTIONS, "package.json": {}}
    files |= {f"json/{name}.json": content for name, content in (EMOJI_SETS | ICON_SETS).items()}
    files["other/json/noto.json"] = "not this one"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture(autouse=True)
def trusted(tarball, monkeypatch):
    digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    monkeypatch.setattr(package, "INTEGRITY", f"sha512-{digest}")


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def color(path):
    image = Image.open(path)
    assert image.mode == "RGB"
    return image.getpixel((image.width // 2, image.height // 2))


def test_emoji(tmp_path, tarball):
    out = tmp_path / "emoji"
    printed = succeeds("data", "emoji", "--out", out, "--tarball", tarball, "--side", 16)
    concepts = {"train/hammer", "val/pizza", "test/cat", "train/cricket-game"}
    assert files(out) == sorted(["NOTICE", *(f"{c}/{style}.png" for c in concepts for style in emoji.STYLES)])
    for number, style in enumerate(emoji.STYLES):
        assert color(out / f"train/hammer/{style}.png") == (10 * number, 0, 0)
    assert np.asarray(Image.open(out / "test/cat/noto.png")).shape == (16, 16, 3)
    rows = [line.replace("│", " ").split() for line in printed.splitlines()]
    assert ["train", "2", "20", "10"] in rows and ["val", "1", "10", "10"] in rows


def test_some_styles_and_classes(tmp_path, tarball):
    out = tmp_path / "emoji"
    options = ("--styles", "noto", "twemoji", "noto", "--classes", 2, "--side", 8)
    succeeds("data", "emoji", "--out", out, "--tarball", tarball, *options)
    kept = ["test/cat", "train/hammer"]
    assert files(out) == ["NOTICE", *(f"{concept}/{style}.png" for concept in kept for style in ("noto", "twemoji"))]


def test_the_notice_names_authors_and_licenses(tmp_path, tarball):
    succeeds("data", "emoji", "--out", tmp_path / "emoji", "--tarball", tarball, "--styles", "noto", "openmoji")
    text = (tmp_path / "emoji/NOTICE").read_text()
    assert (
        "Noto, 4 images\n  author:  author of noto https://noto.example\n  license: Apache-2.0 (Apache-2.0)\n" in text
    )
    assert "Openmoji, 4 images\n" in text and "CC-BY-SA-4.0" in text and "twemoji" not in text
    assert package.PACKAGE in text and package.INTEGRITY in text


def test_icons(tmp_path, tarball):
    """Of home, blank, repeated and hidden drawings are left out; of work, too few remain."""
    out = tmp_path / "icons"
    succeeds("data", "icons", "--out", out, "--tarball", tarball, "--side", 16)
    left = [number for number in range(24) if number not in (20, 21, 22)]
    assert files(out) == ["NOTICE", *(f"test/home/set-{number:02}.png" for number in left)]
    assert color(out / "test/home/set-07.png") == (0, 0, 7)


def test_icon_sets_that_may_be_used():
    collections = {
        "free": about("free"),
        "alike": about("openmoji"),
        "superseded": about("superseded", hidden=True),
        "emoji": about("emoji", category="Emoji"),
        "brands": about("brands", category="Logos"),
        "nameless": {"license": {"title": "Own"}},
    }
    assert icons.permitted_sets(collections) == ["free"]


def test_an_icon_is_centred_on_its_own_shape(tmp_path):
    """A box of 20 x 10 that begins at (5, 3) fills the middle half of the height."""
    from metarl.experiments.datasets.rendering import render

    body = '<rect x="5" y="3" width="20" height="10" fill="currentColor"/>'
    wide = {"icons": {"wide": {"body": body, "left": 5, "top": 3, "width": 20}}, "height": 10}
    png, _ = render(svg(wide, "wide", 16))
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    assert (pixels[4:12] == 0).all() and (pixels[:4] == 255).all() and (pixels[12:] == 255).all()


def test_spread_over_splits():
    drawings = [Drawing(split, f"{split}-{n}", "s", "") for split in ("train", "test") for n in range(6)]
    assert [drawing.concept for drawing in spread(drawings, 4)] == ["train-0", "train-3", "test-0", "test-3"]


def test_npm_fetches_the_package(tmp_path, tarball, monkeypatch):
    """A stand-in for npm that packs the small package, where it is told to."""
    npm = tmp_path / "bin/npm"
    npm.parent.mkdir()
    npm.write_text(f'#!/bin/sh\n[ "$1 $2" = "pack {package.PACKAGE}" ] && cp {tarball} "$5/iconify-json.tgz"\n')
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(npm.parent), prepend=os.pathsep)
    succeeds("data", "emoji", "--out", tmp_path / "emoji", "--side", 8, "--classes", 1)
    assert (tmp_path / "emoji/test/cat/noto.png").is_file()


def test_without_npm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = metarl("data", "emoji", "--out", tmp_path / "emoji")
    assert outcome.code == 2
    assert "npm, which fetches @iconify/json@2.2.535, is not installed: run 'npm pack" in outcome.err
    assert "as --tarball" in outcome.err


def test_npm_that_fails(tmp_path, monkeypatch):
    def run(*arguments, **options):
        return subprocess.CompletedProcess(arguments, 1, "", "npm error\nnetwork unreachable\n")

    monkeypatch.setattr(subprocess, "run", run)
    outcome = metarl("data", "emoji", "--out", tmp_path / "emoji")
    assert outcome.code == 2 and "could not fetch @iconify/json@2.2.535 (network unreachable)" in outcome.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tarball", "none.tgz"], "cannot read none.tgz: No such file or directory"),
        (["--tarball", __file__], "is not the tarball of @iconify/json@2.2.535: its sha512 checksum differs"),
        (["--tarball", "TARBALL", "--styles", "noto", "comic"], "unknown style 'comic': choose from noto, noto-v1"),
        (
            ["--tarball", "TARBALL", "--styles", "noto", "noto-v1", "--classes", "5"],
            "--classes must be at most the 4 classes that there are, got 5",
        ),
    ],
)
def test_what_cannot_be_built(tmp_path, tarball, options, message):
    options = [tarball if option == "TARBALL" else option for option in options]
    outcome = metarl("data", "emoji", "--out", tmp_path / "emoji", *options)
    assert outcome.code == 2 and message in outcome.err and outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["emoji"], "--out"),
        (["photos", "--out", "x"], "photos"),
        (["emoji", "--out", "x", "--side", "7"], "--side must be at least 8, got 7"),
        (["emoji", "--out", "x", "--classes", "0"], "--classes must be at least 1, got 0"),
        (["emoji", "--out", __file__ + "/x"], "test_data.py is no folder"),
        (["emoji", "--out", "."], "exists already and is not overwritten"),
    ],
)
def test_bad_options(options, message):
    assert message in rejects("data", *options)


def test_an_interruption_leaves_nothing_behind(tmp_path, tarball, monkeypatch):
    from metarl.experiments.datasets import build

    def interrupted(path, mode):
        raise KeyboardInterrupt

    monkeypatch.setattr(build.Path, "rename", interrupted)
    options = ("--tarball", tarball, "--side", 8, "--classes", 1)
    assert metarl("data", "emoji", "--out", tmp_path / "emoji", *options).code == 130
    assert list(tmp_path.iterdir()) == []


def test_the_committed_emoji_are_free_to_pass_on():
    """The styles with Apache and MIT licenses alone, and the texts of these licenses."""
    styles = {path.stem for path in EMOJI.rglob("*.png")}
    assert styles == {"noto", "noto-v1", "fxemoji", "fluent-emoji-flat", "fluent-emoji-high-contrast"}
    text = (EMOJI / "NOTICE").read_text()
    assert all(f"{style}: " in text for style in styles)
    assert text.count("license: ") == 5
    assert text.count("(Apache-2.0)") == 3 and text.count("(MIT)") == 2
    assert "Permission is hereby granted" in (EMOJI / "LICENSE-MIT").read_text()
    assert "TERMS AND CONDITIONS" in (EMOJI / "LICENSE-APACHE-2.0").read_text()
