"""``metarl update stream``: archives, what is told and filed, and the table over seeds."""

import json
from pathlib import Path

import numpy as np
import pytest

from metarl.core.errors import Refusal
from metarl.experiments.analysis import fleet_stream
from metarl.experiments.commands.table import main as table
from metarl.experiments.commands.update import main


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    labels = random.integers(3, size=60)
    images = (labels[:, None, None] * 80 + random.integers(0, 60, size=(60, 4, 4))).astype(np.uint8)
    np.savez(tmp_path / "blobs.npz", train_images=images, train_labels=labels)
    return tmp_path / "blobs.npz"


QUICK = ["--initial", "10", "--arriving", "10", "--rounds", "2", "--epochs", "2", "--hidden-sizes", "6"]


def test_rounds_are_told_filed_and_put_into_the_table(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "fleet" / "stream"
    folder.mkdir(parents=True)
    for seed in ("0", "1"):
        words = ["stream", str(archive), *QUICK, "--seed", seed, "--json", str(folder / f"{seed}.json")]
        main([*words, "--strategies", "full", "random"])
    printed = capsys.readouterr().out
    assert "full:" in printed and "round 2: 20 images" in printed and "random:" in printed
    record = json.loads((folder / "0.json").read_text())
    assert record["data"] == "blobs" and set(record["rounds"]) == {"full", "random"}
    table(["fleet", "--results", str(tmp_path), "--systems", "stream"])
    assert "random" in capsys.readouterr().out
    (sheet,) = fleet_stream.sheets(fleet_stream.filed_streams(tmp_path))
    assert [row[0] for row in sheet.rows] == ["random", "full"] and sheet.rows[1][-1] == "100.0 %"


def test_differences_to_full_updates_are_means_over_rounds(tmp_path: Path) -> None:
    settings = {"initial": 1, "arriving": 1, "rounds": 2, "ratio": 0.1, "hidden_sizes": [6], "epochs": 2}
    told = {"sent": True, "patch_bytes": 100}
    rounds = {
        "full": [{**told, "accuracy": 0.8, "patch_bytes": 1000}, {**told, "accuracy": 0.9, "patch_bytes": 1000}],
        "combined": [{**told, "accuracy": 0.7}, {**told, "accuracy": 0.9}],
    }
    (tmp_path / "fleet" / "stream").mkdir(parents=True)
    for seed in range(2):
        record = {"data": "x", "settings": settings | {"seed": seed, "reinitialize": True}, "rounds": rounds}
        (tmp_path / "fleet" / "stream" / f"{seed}.json").write_text(json.dumps(record))
    (sheet,) = fleet_stream.sheets(fleet_stream.filed_streams(tmp_path))
    assert sheet.rows[0] == ["combined", "-5.0 ± 0.0 [2]", "90.0 ± 0.0 [2]", "2.0", "200", "10.0 %"]
    assert sheet.rows[1][:3] == ["full", "-", "90.0 ± 0.0 [2]"]


def test_bad_archives_are_told_in_a_sentence(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "empty.npz")
    np.savez(tmp_path / "floats.npz", images=np.zeros((4, 2, 2)), labels=np.zeros(4))
    np.savez(tmp_path / "objects.npz", images=np.array([{}], dtype=object), labels=np.zeros(1))
    cases = [
        ([str(tmp_path / "none.npz")], "is no .npz archive"),
        ([str(tmp_path / "text.npz")], "is no .npz archive"),
        ([str(tmp_path / "objects.npz")], "is no .npz archive"),
        ([str(tmp_path / "empty.npz")], "has no arrays images and labels"),
        ([str(tmp_path / "floats.npz")], "images must be uint8"),
        ([str(archive), "--initial", "41", "--rounds", "1"], "the rounds take 41 images, and there are 40"),
        ([str(archive), "--ratio", "2"], "'ratio' must be"),
        ([str(archive), "--json", str(archive)], "exists already"),
    ]
    for words, sentence in cases:
        with pytest.raises(Refusal, match=sentence):
            main(["stream", *words])
