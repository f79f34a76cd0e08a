"""Workers of a Ray cluster of two nodes, on this machine, against a run in one process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable as Function
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metarl import api
from metarl.core.errors import Refusal
from metarl.envs.registry import get_family
from metarl.rl.settings import preset
from metarl.rl.training import PolicyTraining
from metarl.runs.callbacks import Callback
from metarl.runs.folder import CONTROLLER, PROGRESS
from metarl.runs.run import run
from metarl.workers import ray_pool
from metarl.workers.ray_pool import RayCluster, RayPool, require_answer

try:
    import ray
    from ray.cluster_utils import Cluster
except ImportError:
    ray = None

needs_ray = pytest.mark.skipif(ray is None, reason="Ray is not installed: pip install 'metarl-adapt[ray]'")
FAMILY = "navigation-2d"
SETTINGS = preset(
    FAMILY,
    iterations=2,
    meta_batch_size=5,
    episodes_per_task=3,
    hidden_sizes=(8,),
    horizon=20,
    cg_iterations=3,
    threads=1,
)
NODE = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of two CPUs each; this process is connected to them."""
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False}, shutdown_at_exit=False)
    try:
        made.add_node(**NODE)
        ray.init(made.address, log_to_driver=False)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[RayPool]:
    """The pools that are opened, and the nodes' processes that their workers are children of."""
    opened: list[RayPool] = []

    class Watched(RayPool):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            self.parents = {parent_of(number) for number in self.process_ids()}
            opened.append(self)

    monkeypatch.setattr(ray_pool, "RayPool", Watched)
    return opened


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def trained(folder: Path, workers: int | None = None, callbacks=(), iterations: int = 2, **how) -> list[bytes]:
    settings = replace(SETTINGS, iterations=iterations)
    cluster = None if workers is None else RayCluster(workers=workers)
    run(PolicyTraining(get_family(FAMILY), settings, cluster=cluster), folder, callbacks=callbacks, **how)
    return [(folder / name).read_bytes() for name in (PROGRESS, CONTROLLER)]


class AtPhase(Callback):
    """Does something as a phase begins, the phases counted from 0."""

    def __init__(self, phase: int, act: Function[[], None]) -> None:
        self.phase, self.act, self.begun = phase, act, 0

    def on_phase(self) -> None:
        if self.begun == self.phase:
            self.act()
        self.begun += 1


@needs_ray
@pytest.mark.slow
def test_two_nodes_train_to_the_bytes_of_one_process(cluster: Cluster, pools: list[RayPool], tmp_path: Path) -> None:
    here = trained(tmp_path / "here")
    for workers in (1, 2, 4):
        assert trained(tmp_path / str(workers), workers) == here
    assert [len(pool.parents) for pool in pools] == [1, 2, 2]
    trained(tmp_path / "resumed", iterations=1)
    assert trained(tmp_path / "resumed", 3, resume=True) == here


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("phase", [2, 4])
def test_a_worker_that_is_killed_costs_a_repetition(
    phase: int, cluster: Cluster, pools: list[RayPool], tmp_path: Path
) -> None:
    """As conjugate gradient begins, and as the second iteration does."""
    here = trained(tmp_path / "here")
    killer = AtPhase(phase, lambda: os.kill(pools[0].process_ids()[1], signal.SIGKILL))
    with pytest.warns(UserWarning, match="a worker of the Ray cluster has ended; iteration [12] is repeated"):
        assert trained(tmp_path / "there", 3, [killer]) == here
    assert len(pools[0].actors) == 0 and killer.begun > 8  # four phases an iteration


@needs_ray
@pytest.mark.slow
def test_an_evaluation_in_workers_is_that_of_one_process(cluster: Cluster, tmp_path: Path) -> None:
    trained(tmp_path / "run")
    here, there = (
        api.evaluate(tmp_path / "run", tasks=43, deterministic=True, threads=1, cluster=cluster)
        for cluster in (None, RayCluster(workers=4))
    )
    assert (
        all(torch.equal(getattr(here, name), getattr(there, name)) for name in ("returns", "errors"))
        and torch.isnan(there.successes).all()
    )


@needs_ray
@pytest.mark.slow
def test_the_command_line_trains_and_sweeps_in_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    def metarl(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "metarl.experiments.cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=240)

    ray_words = ("--workers", "ray", "--ray-address", cluster.address, "--ray-workers", 2)
    tiny = ("--iterations", 2, "--meta-batch-size", 5, "--episodes-per-task", 3, "--hidden-sizes", 8, "--horizon", 20)
    tiny = (*tiny, "--cg-iterations", 3, "--threads", 1)
    done = metarl("sweep", FAMILY, "--out", tmp_path / "sweep", *tiny, *ray_words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sweep" / "maml-seed0" / PROGRESS).read_bytes() == trained(tmp_path / "here")[0]
    done = metarl("train", FAMILY, "--out", tmp_path / "no", *tiny, *ray_words[:-1], 5)
    assert done.returncode == 2 and not (tmp_path / "no").exists()
    assert "has room for 4 workers of 1 threads, and 5 are asked for" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@needs_ray
@pytest.mark.slow
def test_another_version_on_a_node_is_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "__version__", "9.9")
    with pytest.raises(Refusal, match=r"the node .* of the Ray cluster has .* of metarl, and this machine has 9.9: "):
        run(PolicyTraining(get_family(FAMILY), SETTINGS, cluster=RayCluster(workers=2)))


@needs_ray
@pytest.mark.slow
def test_a_node_that_ends_leaves_its_work_to_the_other(cluster: Cluster, pools: list[RayPool], tmp_path: Path) -> None:
    """The last test of this cluster, which has one node less afterwards."""
    here = trained(tmp_path / "here")
    (node,) = cluster.worker_nodes
    remover = AtPhase(6, lambda: cluster.remove_node(node))
    with pytest.warns(UserWarning, match="a worker of the Ray cluster has ended; iteration 2 is repeated"):
        assert trained(tmp_path / "there", 4, [remover]) == here


def test_without_ray_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Refusal, match=r"need Ray, which is not installed: pip install 'metarl-adapt\[ray\]'"):
        PolicyTraining(get_family(FAMILY), SETTINGS, cluster=RayCluster())


def test_more_workers_than_tasks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "installed", lambda: None)
    with pytest.raises(Refusal, match="6 workers for the 5 tasks of a meta-batch"):
        PolicyTraining(get_family(FAMILY), SETTINGS, cluster=RayCluster(workers=6))


@pytest.mark.parametrize("address", ["here", "host:", ":80", "ray://x", "host:port"])
def test_an_address_names_host_and_port(address: str) -> None:
    with pytest.raises(Refusal, match="the address of a Ray cluster is HOST:PORT, ray://HOST:PORT or auto, got"):
        require_answer(address)


def test_an_address_at_which_nobody_or_another_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "ANSWER_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Refusal, match=f"no Ray cluster answers at 127.0.0.1:{port}: "):
            require_answer(f"127.0.0.1:{port}")
    with pytest.raises(Refusal, match="no Ray cluster answers at ray://127.0.0.1"):
        require_answer(f"ray://127.0.0.1:{port}")
