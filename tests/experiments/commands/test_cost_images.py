"""``metarl cost`` of image networks: the cells of the paper's Table 2, files, the step measured, and bad input."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from coloured_images import write_images
from command_line import rejects, succeeds

from metarl.experiments.analysis import image_costs
from metarl.experiments.paper.published import TABLE_2

SMALL = "--backbone conv4 --side 16 --ways 3"


def numbers(tmp_path: Path, words: str) -> dict[str, Any]:
    """What ``metarl cost`` writes."""
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
    succeeds("cost", *shlex.split(words), "--json", path)
    record: dict[str, Any] = json.loads(path.read_text())
    return record


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), classes=4)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two inner steps, 2 shots: the first updates conv2 to fc, the second fc alone."""
    path = tmp_path_factory.mktemp("classifier") / "controller.safetensors"
    untrained = image_costs.untrained("conv4", "p-meta-layers", side=16, ways=3, shots=2)
    sizes = torch.zeros(2, 9)
    sizes[0, 2:] = 0.01
    sizes[1, 8] = 0.02
    parameters = untrained.parameters | {"step_sizes": sizes}
    metadata = replace(untrained.metadata, inner_steps=2)
    replace(untrained, parameters=parameters, metadata=metadata).save(path)
    return path


@pytest.mark.parametrize("method", ["maml", "anil", "boil", "maml++"])
@pytest.mark.parametrize("shots", [1, 5])
def test_table_2(method: str, shots: int, tmp_path: Path) -> None:
    record = numbers(tmp_path, f"--backbone conv4 --method {method} --shots {shots}")
    published = TABLE_2["conv4"][shots][method]
    assert round(record["peak_adaptation_bytes"] / 1e6, 2) == published.megabytes
    assert round(record["adaptation_macs"] / 1e9, 2) == published.gmac
    assert (record["side"], record["ways"], record["shots"], record["chunk"]) == (84, 5, shots, 1)
    assert (record["horizon"], record["episodes"], len(record["steps"])) == (1, 5 * shots, 5)


def test_resnet12_in_table_2(tmp_path: Path) -> None:
    record = numbers(tmp_path, "--backbone resnet12 --method anil")
    assert round(record["peak_adaptation_bytes"] / 1e6, 2) == 3.62
    assert round(record["adaptation_macs"] / 1e9, 2) == 12.42


@pytest.mark.parametrize(
    "words",
    ["conv4 --method boil --shots 5", "resnet12 --method maml --chunk 5", "resnet12 --method p-meta --side 20"],
)
def test_the_table_fits_a_terminal_and_lists_every_layer(words: str) -> None:
    out = succeeds("cost", "--backbone", *shlex.split(words))
    rows = [line.strip("│ ").split("│") for line in out.splitlines() if line.startswith("│")]
    names = [name.strip() for name, *_ in rows]
    assert len(rows) == (34 if words.startswith("resnet12") else 10) and names[-1] == "total"
    assert ("block4.shortcut_norm" in names) or ("norm4" in names)
    assert max(map(len, out.splitlines())) <= 80


def test_the_table_says_what_it_stands_for() -> None:
    out = succeeds("cost", *shlex.split("--backbone conv4 --method maml --layers 9 --shots 5 --chunk 5"))
    rows = [line.strip("│ ").split("│") for line in out.splitlines() if line.startswith("│")]
    cells = {name.strip(): [cell.strip() for cell in row] for name, *row in rows}
    assert [name for name, (adapts, *_) in cells.items() if adapts == "yes"] == ["fc"]
    # Five 84 x 84 x 32 tensors forward and fc's 4,005 accumulators; at fc 5 x (800 + 5) words besides.
    assert cells["total"][2:4] == [f"{4 * 5 * 225_792 / 1e6:.4f}", f"{4 * (5 * 225_792 + 4_005) / 1e6:.4f}"]
    assert cells["fc"][3] == f"{4 * (4_005 + 5 * 805) / 1e6:.4f}"
    text = " ".join(out.split())
    assert "conv4 on images of 84 x 84, maml, inner step 1 of 5" in text
    assert "5 classes with 5 images each, 5 images at a time" in text
    assert "MB = 10^6 bytes" in text and "Qu et al., KDD 2022" in text


def test_a_file_has_layers_and_shots_of_its_own(classifier: Path, tmp_path: Path) -> None:
    record = numbers(tmp_path, str(classifier))
    layers = [[layer["name"] for layer in step["layers"] if layer["updated"]] for step in record["steps"]]
    assert layers == [["conv2", "norm2", "conv3", "norm3", "conv4", "norm4", "fc"], ["fc"]]
    assert (record["shots"], record["episodes"], record["side"]) == (2, 6, 16)
    expected = numbers(tmp_path, f"{SMALL} --method maml --shots 2 --layers 3,4,5,6,7,8,9")
    assert record["peak_adaptation_bytes"] == expected["peak_adaptation_bytes"]
    more = numbers(tmp_path, f"{classifier} --shots 4")
    assert more["adaptation_macs"] == 2 * record["adaptation_macs"]
    assert "inner step 1 of 2" in succeeds("cost", classifier)


@pytest.mark.parametrize(
    "words", ["--method maml --side 32", "--method p-meta --side 32 --shots 2 --chunk 2", "--method anil --side 32"]
)
def test_the_measured_peak_is_that_of_the_model(words: str, tmp_path: Path) -> None:
    record = numbers(tmp_path, f"--backbone conv4 --ways 3 {words} --measure")
    assert record["measured_peak_adaptation_bytes"] == pytest.approx(record["peak_adaptation_bytes"], rel=0.1)


def test_images_of_a_folder(data: Path, tmp_path: Path) -> None:
    words = f"{SMALL} --method p-meta --measure"
    text = " ".join(succeeds("cost", *shlex.split(words), "--data", data).split())
    assert f"attention keeps in tasks of {data}" in text and f"at its peak, on tasks of {data}" in text
    assert "attention keeps in random images" in " ".join(succeeds("cost", *shlex.split(words)).split())


@pytest.mark.parametrize(
    ("words", "named", "allowed"),
    [
        ("--backbone conv4", "--method is missing", "either a CONTROLLER"),
        ("--backbone conv4 --family navigation-2d --method maml", "not with both", "either a CONTROLLER"),
        ("{classifier} --backbone conv4", "not both", "either a CONTROLLER"),
        ("{classifier} --method maml", "not both", "either a CONTROLLER"),
        ("{classifier} --side 32", "--side", "--backbone"),
        ("{classifier} --ways 4", "--ways", "--backbone"),
        ("{classifier} --horizon 5", "--horizon", "policies"),
        ("{small} --method maml --episodes 5", "--episodes", "policies"),
        ("--family navigation-2d --method maml --side 84", "--side", "image networks"),
        ("--family navigation-2d --method maml --shots 1", "--shots", "image networks"),
        ("--family navigation-2d --method maml --data {data}", "--data", "image networks"),
        ("--backbone vgg --method maml", "vgg", "conv4"),
        ("{small} --method nonsense", "'nonsense'", "maml, anil"),
        ("--backbone conv4 --method maml --side 15", "15", "at least 16"),
        ("--backbone conv4 --method maml --side 100000", "25 GB", "2 GB allowed"),
        ("--backbone resnet12 --method anil --side 100000", "the activations of one image", "2 GB allowed"),
        ("{small} --method p-meta --shots 1000000", "random images would take", "2 GB allowed"),
        ("{small} --method maml --shots 1000000000000", "'shots' must be", "got 1000000000000"),
        ("--family navigation-2d --method p-meta --horizon 10000000", "recorded episodes", "2 GB allowed"),
        ("--backbone conv4 --method maml --ways 1", "1", "at least 2"),
        ("--backbone conv4 --method maml --shots 0", "--shots", "at least 1"),
        ("{small} --method maml --layers 10", "'10'", "1 to 9"),
        ("{small} --method boil --layers 9", "fc", "only conv1"),
        ("{small} --method maml --chunk 4", "got 4", "1 to 3"),
        ("{small} --method p-meta --data nowhere", "nowhere", "no folder"),
        ("{small} --method p-meta --data {data} --shots 9", "5 images", "at least 10"),
        ("--backbone conv4 --side 16 --method p-meta --data {data}", "4 classes", "5 ways"),
    ],
)
def test_one_sentence(words: str, named: str, allowed: str, classifier: Path, data: Path) -> None:
    sentence = rejects("cost", *shlex.split(words.format(classifier=classifier, data=data, small=SMALL)))
    assert named in sentence and allowed in sentence, sentence
