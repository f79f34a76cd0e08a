"""Tasks dealt to several workers give the bytes of a run in one process, whatever their number, and though some end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from in_process_pool import InProcessCluster
from point_family import TINY, PointSimulator, point_family

from metarl.core.errors import NumericalFault, Refusal
from metarl.rl.dealt import in_turn, stacked
from metarl.rl.settings import TrainSettings
from metarl.rl.training import PolicyTraining
from metarl.runs.folder import CONTROLLER, PROGRESS, TIMINGS
from metarl.runs.run import run
from metarl.workers.pool import LOSSES, pack, unpack

SETTINGS = replace(TINY, iterations=2, meta_batch_size=5, fisher_fraction=0.6, threads=1)
CASES = {
    "maml": SETTINGS,
    "gate": replace(SETTINGS, method="maml++", gate="return", inner_steps=2),
    "attention": replace(SETTINGS, method="p-meta"),
    "statistics": replace(SETTINGS, normalize_observations=True),
    "reptile": replace(SETTINGS, method="reptile", inner_steps=3, weight_clustering=0.5),
    "reference": replace(SETTINGS, method="no-adaptation"),
}


def trained(folder: Path, settings: TrainSettings, cluster: InProcessCluster | None = None, **how) -> list[bytes]:
    """Train in a folder and return its log and its controller."""
    run(PolicyTraining(point_family(), settings, cluster=cluster), folder, **how)
    return [(folder / name).read_bytes() for name in (PROGRESS, CONTROLLER)]


@pytest.mark.parametrize("case", CASES)
def test_any_number_of_workers_gives_the_bytes_of_one_process(case: str, tmp_path: Path) -> None:
    here = trained(tmp_path / "here", CASES[case])
    for workers in (2, 5):
        assert trained(tmp_path / str(workers), CASES[case], InProcessCluster(workers)) == here, workers


@pytest.mark.parametrize(("method", "left"), [("adapt", 3), ("fisher_products", 3), ("measures", 2), ("returns", 1)])
def test_an_iteration_whose_worker_ends_is_repeated(method: str, left: int, tmp_path: Path) -> None:
    """With as many workers as before, or with those that are left."""
    settings = CASES["gate"]
    undisturbed = InProcessCluster(3)
    expected = trained(tmp_path / "undisturbed", settings, undisturbed)
    calls = undisturbed.pools[0].calls
    last = len(calls) - 1 - calls[::-1].index(method)
    cluster = InProcessCluster(3, lost={last: left})
    with pytest.warns(UserWarning, match="worker 1 of 2 has ended; .* is repeated"):
        assert trained(tmp_path / "disturbed", settings, cluster) == expected
    assert len(cluster.pools[0].calls) > len(calls) and len(cluster.pools[0]) == left


@pytest.mark.filterwarnings("ignore:worker 1")
def test_workers_that_end_again_and_again_are_given_up(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=f"workers were lost {LOSSES} times in a row, so iteration 1 is given up"):
        trained(tmp_path / "run", SETTINGS, InProcessCluster(2, lost=dict.fromkeys(range(LOSSES), 2)))
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_another_number_of_workers(tmp_path: Path) -> None:
    longer = replace(SETTINGS, iterations=4)
    expected = trained(tmp_path / "whole", longer)
    for first, second in ((None, 2), (2, 3), (2, None)):
        folder = tmp_path / f"{first}-{second}"
        trained(folder, SETTINGS, first and InProcessCluster(first))
        assert trained(folder, longer, second and InProcessCluster(second), resume=True) == expected


def test_bytes_do_not_grow_with_the_episodes_and_are_logged(tmp_path: Path) -> None:
    moved = []
    for horizon in (5, 50):
        cluster = InProcessCluster(2)
        settings = replace(SETTINGS, iterations=1, line_search_steps=1, max_kl=1e-30)
        run(PolicyTraining(point_family(horizon), settings, cluster=cluster), tmp_path / str(horizon))
        header, row = (line.split(",") for line in (tmp_path / str(horizon) / TIMINGS).read_text().splitlines())
        cells = dict(zip(header, row, strict=True))
        traffic = cluster.pools[0].traffic
        assert [int(cells[f"bytes_{way}_workers"]) for way in ("to", "from")] == [traffic.sent, traffic.received]
        moved.append(traffic)
    assert moved[1].sent == moved[0].sent
    assert moved[1].received == pytest.approx(moved[0].received, abs=100)  # numbers of steps take another byte
    trained(tmp_path / "here", SETTINGS)
    assert "bytes" not in (tmp_path / "here" / TIMINGS).read_text()


def test_a_fault_in_a_worker_is_told_as_in_this_process() -> None:
    broken = point_family(make_simulator=lambda threads: PointSimulator(frozenset(range(10**6))))
    training = PolicyTraining(broken, replace(SETTINGS, iterations=9), cluster=InProcessCluster(2))
    with pytest.raises(NumericalFault, match="the environment's rewards are not finite.*5th such iteration"):
        run(training)


@pytest.mark.parametrize("workers", [0, 6])
def test_each_worker_needs_a_task(workers: int) -> None:
    with pytest.raises(
        Refusal, match=f"{workers} workers for the 5 tasks of a meta-batch: .* at least 1 and at most 5"
    ):
        PolicyTraining(point_family(), SETTINGS, cluster=InProcessCluster(workers))


def test_tasks_come_back_in_their_order() -> None:
    def dealt(tasks: Sequence) -> list[Sequence]:
        return [tasks[worker::3] for worker in range(3)]

    assert in_turn(dealt(list("abcdefg"))) == list("abcdefg")
    rows = torch.arange(14.0).view(7, 2)
    assert torch.equal(stacked(dealt(rows)), rows)


def test_tensors_travel_without_their_history() -> None:
    weight = torch.arange(6.0).view(2, 3).mT.requires_grad_()
    bare, (noise,) = unpack(pack((weight * 2, [torch.tensor([True, False])])))
    assert torch.equal(bare, weight.detach() * 2) and not bare.requires_grad
    assert noise.dtype == torch.bool and noise.tolist() == [True, False]
    assert len(pack(torch.zeros(1000))) < 4000 + 300
