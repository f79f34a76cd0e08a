"""A pool whose workers are objects of this process: all that it calls travels as bytes, as to another machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from metarl.workers.pool import Traffic, WorkerLost, check_workers, pack, unpack


class InProcessPool:
    """``lost`` tells at which call, from 0, the first worker ends, and how many workers there are afterwards."""

    def __init__(self, make: Callable[[], Any], workers: int, lost: dict[int, int]) -> None:
        self.make, self.lost, self.calls, self.traffic = pack(make), lost, [], Traffic()
        self.objects = [unpack(self.make)() for _ in range(workers)]

    def __len__(self) -> int:
        return len(self.objects)

    def call(
        self, method: str, *shared: Any, own: Sequence[Any] | None = None, workers: int | None = None
    ) -> list[Any]:
        self.calls.append(method)
        if len(self.calls) - 1 in self.lost:
            self.objects[0].close()
            raise WorkerLost("worker 1 of 2 has ended")
        results = []
        self.traffic.rounds += 1
        for index, each in enumerate(self.objects[:workers]):
            arguments = pack((*shared, *(() if own is None else (own[index],))))
            results.append(pack(getattr(each, method)(*unpack(arguments))))
            self.traffic.sent += len(arguments)
            self.traffic.received += len(results[-1])
        return [unpack(result) for result in results]

    def restore(self) -> None:
        for each in self.objects[1:]:
            each.close()
        self.objects = [unpack(self.make)() for _ in range(self.lost[len(self.calls) - 1])]


@dataclass
class InProcessCluster:
    workers: int
    lost: dict[int, int] = field(default_factory=dict)
    pools: list[InProcessPool] = field(default_factory=list)

    def check(self, tasks: int, where: str) -> None:
        check_workers(self.workers, tasks, where)

    @contextmanager
    def pool(self, make: Callable[[], Any], threads: int, tasks: int) -> Iterator[InProcessPool]:
        pool = InProcessPool(make, self.workers, self.lost)
        self.pools.append(pool)
        try:
            yield pool
        finally:
            for each in pool.objects:
                each.close()
