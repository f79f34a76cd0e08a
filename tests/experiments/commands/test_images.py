"""``metarl evaluate`` and ``metarl inspect`` for image networks."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import fails, metarl, says_nothing, succeeds
from small_classifiers import small_classifier

from metarl.core.randomness import Purpose, generator
from metarl.envs.images.episodes import EpisodeShape, sample_episodes
from metarl.envs.images.image_set import load_images
from metarl.experiments.analysis.image_inspection import percent
from metarl.experiments.commands import evaluate
from metarl.policies.classifier import Classifier
from metarl.policies.loading import load_classifier
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.network import Parameters
from metarl.policies.networks.resnet12 import ResNet12

EMOJI = Path(__file__).parents[2] / "fixtures" / "emoji"
POLICY = "navigation-2d/maml"
NETWORK = Conv4(side=16, ways=5, width=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, because the decoded images are kept beside them."""
    return Path(shutil.copytree(EMOJI, tmp_path_factory.mktemp("images") / "emoji"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A classifier as ``metarl train images`` leaves it: five ways, one shot, four queries."""
    out = tmp_path_factory.mktemp("runs") / "run"
    options = (
        "--method p-meta --side 16 --queries 4 --inner-steps 2 --epochs 1 --tasks-per-epoch 4 --validation-tasks 2"
    )
    succeeds("train", "images", "--data", data, *options.split(), "--out", out)
    return out / "controller.safetensors"


def saved(path: Path, method: str = "maml", parameters: Parameters | None = None, **changes: Any) -> Path:
    classifier = small_classifier(method, changes.pop("network", NETWORK), parameters, **changes)
    classifier.save(path)
    return path


def attended(path: Path) -> Path:
    """conv1 keeps one of its three inputs; of conv2's, the two that share everything; some layers rest."""
    first, second = torch.tensor([0.0, 100.0, 0.0]), torch.zeros(8)
    second[:2] = 100.0
    step_sizes = torch.full((2, 9), 0.25)
    step_sizes[0, 2], step_sizes[:, 5], step_sizes[1, 8], step_sizes[1, 0] = 0.0, 0.0, 0.0, 0.5
    parameters = {
        "attention.conv1.forward.fc2.bias": first,
        "attention.conv2.forward.fc2.bias": second,
        "step_sizes": step_sizes,
    }
    return saved(path, "p-meta", parameters, queries=4)


def record(command: str, path: Path, *words: object) -> dict[str, Any]:
    """What ``--json`` writes, which must be JSON as other languages read it."""
    out = path.parent / f"{path.name}-{command}.json"
    out.unlink(missing_ok=True)
    outcome = metarl(command, path, "--json", out, *words)
    assert outcome.code == 0, outcome

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    written: dict[str, Any] = json.loads(out.read_text(), parse_constant=refuse)
    return written


def accuracies(classifier: Classifier, data: Path, tasks: int, shots: int, queries: int, seed: int) -> np.ndarray:
    """Before and after adaptation [2, task], by the classifier's own adaptation on the tasks that are evaluated."""
    images = load_images(data, "test", 16)
    random = generator(seed, Purpose.EVALUATION, 0)
    episodes = sample_episodes(images, EpisodeShape(5, shots, queries), tasks, random)
    scores = []
    for support, labels, query, truth in zip(*episodes, strict=True):
        adapted = classifier.adapt(support, labels)
        scores.append([float((each.predict(query) == truth).mean()) for each in (classifier, adapted)])
    return np.array(scores).T


@pytest.mark.parametrize(("words", "shots", "queries"), [("", 1, 4), ("--shots 2 --queries 3 --seed 4", 2, 3)])
def test_evaluation_is_that_of_the_device(data: Path, tmp_path: Path, words: str, shots: int, queries: int) -> None:
    path = saved(tmp_path / "c", "p-meta", {"step_sizes": torch.full((2, 9), 0.1)}, seed=9, queries=4)
    written = record("evaluate", path, "--data", data, "--tasks", 9, *words.split())
    expected = accuracies(load_classifier(path), data, 9, shots, queries, seed=4 if words else 1)
    assert {name: written[name] for name in ("tasks", "split", "ways", "shots", "queries")} == {
        "tasks": 9,
        "split": "test",
        "ways": 5,
        "shots": shots,
        "queries": queries,
    }
    assert written["data"] == str(data) and len(written["accuracies"]) == 2
    for steps, entry, scores in zip((0, 2), written["accuracies"], expected, strict=True):
        assert entry["steps"] == steps and entry["mean"] == pytest.approx(scores.mean())
        assert entry["ci95"] == pytest.approx(2.306004 * scores.std(ddof=1) / 3)
    assert expected[1].mean() > expected[0].mean()


def test_evaluation_prints_accuracies(trained: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "accuracies.json"
    printed = succeeds("evaluate", trained, "--data", data, "--tasks", 20, "--split", "val", "--json", out)
    assert "20/20 tasks" in printed and "emoji (val), 20 tasks, 5-way 1-shot" in printed
    for entry in json.loads(out.read_text())["accuracies"]:
        assert f"{100 * entry['mean']:.2f} %" in printed and f"± {100 * entry['ci95']:.2f} %" in printed


def test_threads_change_nothing_and_the_seed_does(trained: Path, data: Path) -> None:
    first, threads, seed = (
        record("evaluate", trained, "--data", data, "--tasks", 5, *words.split())
        for words in ("--threads 1", "--threads 3", "--threads 1 --seed 2")
    )
    assert first == threads != seed


def test_images_at_once_share_their_scores(data: Path, tmp_path: Path) -> None:
    """Scores that depend on the image are another thing for one image than for the mean of five."""
    random = torch.Generator().manual_seed(0)
    names = [name for name in small_classifier("p-meta", NETWORK).parameters if name.endswith("fc2.weight")]
    shapes = small_classifier("p-meta", NETWORK).parameters
    weights = {name: 20 * torch.randn(shapes[name].shape, generator=random) for name in names}
    path = saved(tmp_path / "c", "p-meta", weights | {"step_sizes": torch.full((2, 9), 0.5)})
    words = ("--data", data, "--tasks", 5)
    single, one, five = (
        record("evaluate", path, *words, *more) for more in ((), *(("--images-at-once", n) for n in (1, 5)))
    )
    assert single == one and one["accuracies"][1] != five["accuracies"][1]
    assert one["accuracies"][0] == five["accuracies"][0]


def test_a_single_task_has_no_interval(trained: Path, data: Path) -> None:
    written = record("evaluate", trained, "--data", data, "--tasks", 1)
    assert [entry["ci95"] for entry in written["accuracies"]] == [None, None]


def test_how_many_tasks(trained: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (evaluate.POLICY_TASKS, evaluate.IMAGE_TASKS) == (400, 5000)
    monkeypatch.setattr(evaluate, "IMAGE_TASKS", 3)
    monkeypatch.setattr(evaluate, "POLICY_TASKS", 2)
    assert record("evaluate", trained, "--data", data)["tasks"] == 3
    assert "navigation-2d, 2 unseen tasks" in succeeds("evaluate", POLICY, "--horizon", 3)


def test_fewer_queries_than_asked_for_are_told(trained: Path, data: Path, tmp_path: Path) -> None:
    words = ("--data", data, "--tasks", 2, "--queries", 15, "--json", tmp_path / "a")
    outcome = metarl("evaluate", trained, *words)
    assert outcome.code == 0 and "4 instead of 15 queries" in outcome.err
    assert json.loads((tmp_path / "a").read_text())["queries"] == 4


def test_ablations_and_batch_norm_are_evaluated(data: Path, tmp_path: Path) -> None:
    words = ("--data", data, "--tasks", 2, "--queries", 2)
    for number, method in enumerate(("p-meta-alpha-ch", "p-meta-x0.3", "p-meta-gy0.3")):
        succeeds("evaluate", saved(tmp_path / str(number), method), *words)
    batch = saved(tmp_path / "batch", network=Conv4(16, 5, 8, norm="batch", pooling="average"))
    succeeds("evaluate", batch, *words, "--images-at-once", 5)


def test_every_layer_by_hand(data: Path, tmp_path: Path) -> None:
    written = record("inspect", attended(tmp_path / "c"), "--data", data)
    layers = {layer["name"]: layer for layer in written["layers"]}
    assert layers["conv1"] == {
        "name": "conv1",
        "kind": "convolution",
        "inputs": 3,
        "outputs": 8,
        "adapts": [True, True],
        "step_sizes": [0.25, 0.5],
        "kept_inputs": [pytest.approx(1 / 3)] * 2,
        "kept_outputs": [1.0, 1.0],
        "context": 0,
        "bits": None,
    }
    assert layers["conv2"]["kept_inputs"] == [None, 0.25] and layers["conv2"]["kind"] == "convolution"
    assert layers["norm3"]["adapts"] == [False, False] and layers["norm3"]["kept_inputs"] == [None, None]
    assert layers["fc"]["adapts"] == [True, False] and layers["fc"]["kept_outputs"] == [1.0, None]
    assert [layer["kind"] for layer in written["layers"]] == ["convolution", "group_norm"] * 4 + ["linear"]
    assert written["parameters"] == 8 * 3 * 9 + 3 * 8 * 8 * 9 + 4 * 2 * 8 + 5 * 8 + 5
    assert written["attention_parameters"] == 2 * (3**2 + 3) + 15 * 2 * (8**2 + 8)
    assert written["notes"] == [] and written["training"] == {"seed": 3}
    assert written["network"] == {
        "kind": "conv4",
        "side": 16,
        "ways": 5,
        "width": 8,
        "norm": "group",
        "pooling": "max",
    }


def test_what_is_printed(data: Path, tmp_path: Path) -> None:
    out = succeeds("inspect", attended(tmp_path / "c"), "--data", data)
    out = out.replace("decoded 35 images\n", "")
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if "→" in line}
    assert list(rows) == [f"{kind}{number}" for number in range(1, 5) for kind in ("conv", "norm")] + ["fc"]
    assert rows["conv1"] == "conv 3→8 0.25 to 0.5 yes 33 % 100 %"
    assert rows["conv2"] == "conv 8→8 0 to 0.25 step 2 25 % 100 %"
    assert rows["norm3"] == "norm 8→8 0 no - -"
    assert rows["fc"] == "linear 8→5 0 to 0.25 step 1 100 % 100 %"
    text = " ".join(out.split())
    for fact in (
        "method p-meta (Qu et al., KDD 2022",
        "network conv4: 8 channels, group norm, max pooling",
        "images 16 x 16 RGB",
        "tasks 5 ways, 1 shot, 4 queries of each class, from colours",
        "adaptation 2 steps, each on the same 5 images",
        "parameters 2053 and 2184 of attention",
        "training seed 3",
        "MB at the peak of a step",
    ):
        assert fact in text, fact
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("method", ["p-meta", "maml"])
def test_large_networks_fit_a_terminal_and_no_number_is_cut(tmp_path: Path, data: Path, method: str) -> None:
    network = ResNet12(side=16, ways=5, widths=(64, 128, 256, 512))
    step_sizes = torch.tensor([[-0.01234], [0.0], [0.01234], [-0.00567], [0.5]]).repeat(1, 33)
    path = saved(tmp_path / "c", method, {"step_sizes": step_sizes}, network=network, inner_steps=5)
    out = succeeds("inspect", path)
    words = out.split()
    assert "resnet12: 64, 128, 256, 512 channels, group norm, max pooling" in " ".join(words)
    assert "block4.shortcut_norm" in words and "256→512" in words and "…" not in out
    assert words.count("-0.012") == words.count("0.5") == len(network.layer_names) == 33
    assert max(map(len, out.splitlines())) <= 80
    assert ("kept" in words) == (method == "p-meta")


@pytest.mark.parametrize(
    ("values", "text"),
    [((), "-"), ((None, None), "-"), ((0.25, None, 0.251), "25 %"), ((1.0, 0.095, None, 0.5), "10-100 %")],
)
def test_shares_as_percentages(values: tuple[float | None, ...], text: str) -> None:
    assert percent(values) == text


def test_the_cost_is_that_of_the_other_command(data: Path, tmp_path: Path) -> None:
    path = attended(tmp_path / "c")
    inspected, cost = record("inspect", path, "--data", data)["cost"], record("cost", path, "--data", data)
    assert inspected == {name: cost[name] for name in inspected} and inspected["peak_adaptation_bytes"] > 0


def test_attention_needs_images(tmp_path: Path) -> None:
    path = attended(tmp_path / "c")
    text = " ".join(succeeds("inspect", path).split())
    assert "name a folder of them with --data" in text and "33 %" not in text and "0.25 to 0.5" in text
    written = record("inspect", path)
    assert [layer["kept_inputs"] for layer in written["layers"]] == [[None, None]] * 9
    assert len(written["notes"]) == 1 and written["cost"]["peak_adaptation_bytes"] > 0
    assert record("inspect", saved(tmp_path / "anil", "anil"))["notes"] == []


@pytest.mark.parametrize("missing", ["step_sizes", "attention.conv1.forward.fc2.bias"])
def test_without_the_inner_loop(missing: str, data: Path, tmp_path: Path) -> None:
    whole = load_classifier(attended(tmp_path / "whole"))
    parameters = {name: tensor for name, tensor in whole.parameters.items() if name != missing}
    path = tmp_path / "part"
    Classifier(parameters, whole.network, whole.metadata).save(path)
    text = " ".join(succeeds("inspect", path, "--data", data).replace("decoded 35 images\n", "").split())
    assert ("it acts, but cannot be adapted" if missing == "step_sizes" else f"p-meta needs its '{missing}'") in text
    assert f"cannot be adapted: p-meta needs its '{missing}'" in fails("evaluate", path, "--data", data)


def test_nothing_in_a_strangers_file_reaches_the_terminal_as_a_command(tmp_path: Path) -> None:
    training = {"\x1b[2J": "\x1b]0;title\x07", "[bold]": "[/red]", "nan": math.nan}
    out = succeeds("inspect", saved(tmp_path / "c", training=training, data="\x1b[31mred"))
    assert "\x1b" not in out and "\x07" not in out and "[bold] [/red]" in out


@pytest.mark.parametrize(
    ("words", "named", "allowed"),
    [
        ("evaluate {images}", "--data", "image network"),
        ("evaluate {images} --data nowhere", "there is no folder", "nowhere"),
        ("evaluate {images} --data {empty}", "holds no few-shot images", "train, val and test"),
        ("evaluate {images} --data {data} --split extra", "extra", "test"),
        ("evaluate {images} --data {narrow}", "has no split 'test'", "it has val"),
        ("evaluate {images} --data {narrow} --split val", "has 4 classes", "too few for 5 ways"),
        ("evaluate {images} --data {data} --shots 5", "5-shot episodes", "at least 6"),
        ("evaluate {images} --data {data} --shots 0", "--shots", "at least 1"),
        ("evaluate {images} --data {data} --queries -1", "--queries", "at least 1"),
        ("evaluate {images} --data {data} --images-at-once 0", "--images-at-once", "at least 1"),
        ("evaluate {images} --data {data} --tasks 0", "--tasks", "at least 1"),
        ("evaluate {images} --data {data} --horizon 5", "--horizon is about policies", "leave it out"),
        ("evaluate {images} --data {data} --family navigation-2d", "--family is about policies", "leave it out"),
        ("evaluate {images} --data {data} --json {kept}", "kept.json", "already"),
        ("evaluate {damaged} --data {data}", "damaged", "truncated"),
        ("evaluate nowhere.safetensors --data {data}", "nowhere.safetensors", "no such file"),
        ("evaluate {policy} --data {data}", "--data is about image networks", "leave it out"),
        ("evaluate {policy} --split val", "--split is about image networks", "leave it out"),
        ("evaluate {policy} --images-at-once 2", "--images-at-once is about image networks", "leave it out"),
        ("inspect {images} --family navigation-2d", "--family is about policies", "leave it out"),
        ("inspect {images} --data nowhere", "there is no folder", "nowhere"),
        ("inspect {images} --data {narrow}", "has 4 classes", "too few for 5 ways"),
        ("inspect {images} --json {kept}", "kept.json", "already"),
        ("inspect {damaged}", "damaged", "truncated"),
        ("inspect {policy} --data {data}", "--data is about image networks", "leave it out"),
        ("adapt {images} --task goal_x=0", "this is an image network (conv4)", "a policy is needed"),
        ("render {images} --out o.gif", "this is an image network (conv4)", "a policy is needed"),
    ],
)
def test_one_sentence(
    words: str,
    named: str,
    allowed: str,
    trained: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {name: tmp_path / name for name in ("empty", "narrow", "damaged", "kept.json")}
    places["empty"].mkdir()
    for folder in sorted((data / "val").iterdir())[:4]:
        shutil.copytree(folder, places["narrow"] / "val" / folder.name)
    places["damaged"].write_bytes(trained.read_bytes()[:-100])
    places["kept.json"].write_text("precious")
    formatted = words.format(images=trained, policy=POLICY, data=data, kept=places["kept.json"], **places)
    outcome = metarl(*shlex.split(formatted))
    sentence = outcome.err
    assert outcome.code == 2 and says_nothing(outcome.out), outcome
    assert sentence.count("\n") == 1 or "--split" in words, sentence
    assert named in sentence and allowed in sentence, sentence
    assert places["kept.json"].read_text() == "precious" and sorted(tmp_path.iterdir()) == sorted(places.values())
