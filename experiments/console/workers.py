"""Options of the command line on where the tasks are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from metarl.core.errors import Refusal
from metarl.experiments.console.constructors import Maybe
from metarl.workers.ray_pool import RayCluster, connected


@dataclass(frozen=True)
class WorkerOptions:
    """Where tasks are sampled and adapted. It changes no number."""

    workers: Literal["threads", "ray"] = "threads"
    """Where tasks are sampled and adapted to: in threads of this process, or in the workers of a Ray cluster."""
    ray_address: Maybe[str] = None
    """Ray cluster, HOST:PORT of its head, ray://HOST:PORT or auto; one is started on this machine if left out."""
    ray_workers: Maybe[int] = None
    """Workers in the Ray cluster, with --threads CPUs each; as many as there is room for if left out."""

    def __post_init__(self) -> None:
        for name in ("ray_address", "ray_workers"):
            if self.workers != "ray" and getattr(self, name) is not None:
                raise Refusal(f"--{name.replace('_', '-')} goes with --workers ray")

    def cluster(self) -> RayCluster | None:
        """Return the cluster; None for the threads of this process."""
        return RayCluster(self.ray_address, self.ray_workers) if self.workers == "ray" else None

    def words(self) -> tuple[str, ...]:
        """Return the options as words of a command line."""
        named = {"--workers": self.workers, "--ray-address": self.ray_address, "--ray-workers": self.ray_workers}
        return (
            () if self.workers == "threads" else tuple(str(word) for pair in named.items() if pair[1] for word in pair)
        )

    @contextmanager
    def shared(self, processes: int, threads: int) -> Iterator[WorkerOptions]:
        """Yield the options for several processes at a time, with the address of the one cluster that they share.

        ``threads`` are those of each worker. Refusal unless it is said how many workers each process gets.
        """
        if self.workers == "threads":
            yield self
            return
        if processes > 1 and self.ray_workers is None:
            raise Refusal(f"{processes} trainings at a time share the cluster: say with --ray-workers what each gets")
        if self.ray_address is not None:
            yield self
            return
        with connected(None, processes * threads * (self.ray_workers or 1)) as ray:
            yield replace(self, ray_address=ray.get_runtime_context().gcs_address)
