"""Updates of a classifier whose data arrive in rounds: restarts, what devices store, and what is sent."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from metarl.core.errors import Refusal
from metarl.fleet import stream as module
from metarl.fleet.scores import scored_names
from metarl.fleet.stream import Device, Server, StreamSettings, candidate, checked, played, restarts, seeded, stream
from metarl.fleet.supervised import Examples, accuracy, loss_gradient, train
from metarl.policies.networks.mlp import CategoricalMLP

QUICK = StreamSettings(initial=20, arriving=20, rounds=3, ratio=0.1, hidden_sizes=(12,), epochs=3, batch=8)


def blobs(count: int, seed: int) -> Examples:
    """Return images of three classes, each around a pattern of its own."""
    random = np.random.default_rng(seed)
    labels = random.integers(3, size=count)
    patterns = np.random.default_rng(0).integers(0, 256, size=(3, 4, 4))
    images = (patterns[labels] + random.normal(0, 60, size=(count, 4, 4))).clip(0, 255).astype(np.uint8)
    return checked(torch.from_numpy(images), torch.from_numpy(labels))


TRAINING, HELD_OUT = blobs(80, seed=1), blobs(60, seed=2)
NETWORK = CategoricalMLP(16, (12,), 3)


def server(number: int = 1, settings: StreamSettings = QUICK) -> Server:
    return Server(NETWORK, TRAINING, HELD_OUT, settings, number)


@pytest.mark.parametrize(
    ("initial", "arriving", "expected"),
    [
        (1000, 1000, [3000, 7000, 15000, 31000]),
        (1000, 5000, [6000, 16000, 36000]),
        (5000, 1000, [11000, 23000, 47000]),
    ],
)
def test_the_server_starts_anew_when_its_data_have_more_than_doubled(
    initial: int, arriving: int, expected: list[int]
) -> None:
    sizes = [initial + number * arriving for number in range(47)]
    found = [size for size, restart in zip(sizes, restarts(initial, arriving, 47), strict=True) if restart]
    assert [size for size in found if size <= expected[-1]] == expected


@pytest.mark.filterwarnings("ignore:the steps of the full update")
@pytest.mark.parametrize("strategy", ["combined", "global", "local", "random"])
def test_no_more_than_its_share_of_the_weights_changes(strategy) -> None:
    first = NETWORK.initial_parameters(seeded(0, 0))
    new = candidate(first, first, server(), strategy)
    names = scored_names(NETWORK, first)
    changed = sum(int((new[name] != first[name]).sum()) for name in names)
    assert 0 < changed <= int(0.1 * sum(first[name].numel() for name in names))
    assert not torch.equal(new["layer1.bias"], first["layer1.bias"])


def test_a_pruned_network_has_its_share_of_weights_and_zeros() -> None:
    first = NETWORK.initial_parameters(seeded(0, 0))
    new = candidate(first, first, server(), "pruning")
    kept = sum(int((new[name] != 0).sum()) for name in scored_names(NETWORK, first))
    assert kept == int(0.1 * (16 * 12 + 12 * 3))


def test_training_is_adam_on_the_cross_entropy() -> None:
    """An independent formulation: torch's own modules and Adam."""
    start = NETWORK.initial_parameters(seeded(3, 0))
    course = train(NETWORK, start, TRAINING, HELD_OUT, 3, 16, 0.01, seeded(3, 1))
    peer = torch.nn.Sequential(torch.nn.Linear(16, 12), torch.nn.ReLU(), torch.nn.Linear(12, 3))
    with torch.no_grad():
        for place, layer in ((0, "layer1"), (2, "layer2")):
            peer[place].weight.copy_(start[f"{layer}.weight"])
            peer[place].bias.copy_(start[f"{layer}.bias"])
    optimizer, random = torch.optim.Adam(peer.parameters(), lr=0.01), seeded(3, 1)
    for epoch in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * 0.1**epoch
        for chosen in torch.randperm(80, generator=random).split(16):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(peer(TRAINING.inputs[chosen]), TRAINING.labels[chosen]).backward()
            optimizer.step()
    assert torch.allclose(course.last["layer2.weight"], peer[2].weight, atol=1e-5)
    assert torch.allclose(course.last["layer1.bias"], peer[0].bias, atol=1e-5)


def test_local_scores_add_up_to_the_fall_of_the_loss_in_first_order() -> None:
    start = NETWORK.initial_parameters(seeded(0, 0))
    gradient = loss_gradient(NETWORK, start, TRAINING)
    course = train(NETWORK, start, TRAINING, HELD_OUT, 1, len(TRAINING.labels), 1e-4, seeded(0, 1))
    expected = -sum(float((gradient[name] * (course.last[name] - start[name])).sum()) for name in start)
    assert course.local is not None
    assert float(sum(each.sum() for each in course.local.values())) == pytest.approx(expected, rel=1e-4)


def test_the_best_epoch_by_validation_is_taken_and_the_start_if_none_is_better() -> None:
    start = NETWORK.initial_parameters(seeded(0, 0))
    course = train(NETWORK, start, TRAINING, HELD_OUT, 4, 8, 0.01, seeded(0, 1))
    assert accuracy(NETWORK, course.best, HELD_OUT) >= accuracy(NETWORK, course.last, HELD_OUT)
    worse = train(
        NETWORK, course.best, blobs(30, 5)._replace(labels=torch.zeros(30).long()), HELD_OUT, 2, 8, 0.1, seeded(0, 1)
    )
    assert worse.best is course.best


def test_devices_store_two_networks_until_the_restarted_one_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    first, old, weak, strong = (NETWORK.initial_parameters(seeded(seed, 0)) for seed in range(4))
    scores = {id(first): 0.3, id(old): 0.6, id(weak): 0.5, id(strong): 0.7}
    monkeypatch.setattr(module, "accuracy", lambda network, parameters, images: scores[id(parameters)])
    device, told = Device(old, first), []
    for number, new in enumerate((weak, strong, weak), start=1):
        monkeypatch.setattr(module, "candidate", lambda *args, new=new: new)
        device, outcome = played(device, first, server(number), "combined", number == 1, HELD_OUT)
        told.append((outcome.sent, outcome.slots, outcome.accuracy))
    # The weak one is sent to the second place; the strong one replaces both; nothing weaker is sent then.
    assert told == [(True, 2, 0.6), (True, 1, 0.7), (False, 1, 0.7)]
    assert device == Device(strong, strong)


def test_the_same_seed_gives_the_same_rounds_and_accuracy_grows() -> None:
    runs = [stream(TRAINING, HELD_OUT, "combined", QUICK) for _ in range(2)]
    assert runs[0] == runs[1]
    assert [each.images for each in runs[0]] == [20, 40, 60] and [each.restarted for each in runs[0]][2]
    full = stream(TRAINING, HELD_OUT, "full", replace(QUICK, epochs=20))
    assert full[-1].accuracy > 0.8
    assert sum(each.patch_bytes for each in full) > 1.2 * sum(each.patch_bytes for each in runs[0])
    assert not any(each.restarted for each in stream(TRAINING, HELD_OUT, "global", QUICK))


def test_too_few_images_are_refused() -> None:
    with pytest.raises(Refusal, match="the rounds take 81 images, and there are 80"):
        stream(TRAINING, HELD_OUT, "full", StreamSettings(initial=81, rounds=1))
    with pytest.raises(Refusal, match="whole numbers"):
        checked(torch.zeros(3, 2, 2), torch.tensor([0.0, 1.0, 2.0]))
    with pytest.raises(Refusal, match="do not belong together"):
        checked(torch.zeros(3, 2, 2), torch.tensor([0, 1]))
