"""An image meta-batch in one vectorized pass over its tasks, against one task at a time in each thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from metarl.core.threads import available_threads
from metarl.experiments.bench.measure import print_table, ratio_of, ratio_text, spread
from metarl.experiments.console.allocator import keep_freed_memory
from metarl.images.batch import ImageBatch
from metarl.images.iteration import meta_gradient
from metarl.images.settings import ImageSettings, build_network
from metarl.images.start import initial_state
from metarl.images.tasks import ImageTask, adapt
from metarl.losses import cross_entropy
from metarl.policies.methods import Method, get_method, trained_names
from metarl.policies.networks.network import ImageNetwork, Parameters

SIDES = (32, 84)
METHODS = ("maml", "p-meta")


@dataclass(frozen=True)
class Workplace:
    """A meta-batch, and the network that adapts to it."""

    network: ImageNetwork
    parameters: Parameters
    method: Method
    tasks: Sequence[ImageTask]


def run(threads: int | None = None) -> dict[str, Any]:
    """Measure 4Conv's meta-gradient, 5-way 1-shot, with ``threads`` (default: all cores), in about two minutes."""
    return measure(SIDES, threads or available_threads(), repetitions=3)


def show(result: dict[str, Any]) -> None:
    """Print the seconds of a meta-gradient and the ratios."""
    print_table(
        f"Meta-gradient of {result['tasks']} tasks, 5-way 1-shot, 4Conv, {result['threads']} threads: median seconds",
        ["method and side", "task by task", "vectorized", "vectorized / task by task"],
        [
            [name, f"{of['by_task']['median']:.2f}", f"{of['vectorized']['median']:.2f}", ratio_text(of)]
            for name, of in result["cases"].items()
        ],
    )


def measure(sides: Sequence[int], threads: int, repetitions: int) -> dict[str, Any]:
    """Measure both in turn, ``repetitions`` times after a warm-up; ``ratio`` is the median over the cases."""
    keep_freed_memory()
    cases = {
        f"{method} {side}": compare(workplace(method, side), threads, repetitions)
        for method in METHODS
        for side in sides
    }
    return {
        "ratio": median(case["ratio"] for case in cases.values()),
        "cases": cases,
        "tasks": ImageSettings(data=Path()).tasks_per_iteration,
        "threads": threads,
        "repetitions": repetitions,
    }


def compare(place: Workplace, threads: int, repetitions: int) -> dict[str, Any]:
    """Return the seconds of both, and the ratio of the vectorized pass to the other."""
    seconds: dict[str, list[float]] = {"by_task": [], "vectorized": []}
    with ThreadPoolExecutor(threads) as executor:

        def by_task() -> None:
            meta_gradient(place.network, place.parameters, place.method, list(place.tasks), False, executor)

        ways: dict[str, tuple[int, Callable[[], object]]] = {
            "by_task": (1, by_task),
            "vectorized": (threads, lambda: vectorized_gradient(place)),
        }
        for repetition in range(repetitions + 1):
            for name, (torch_threads, work) in ways.items():
                with torch_threads_set(torch_threads):
                    start = time.perf_counter()
                    work()
                    if repetition:
                        seconds[name].append(time.perf_counter() - start)
    return {
        **ratio_of(seconds["vectorized"], seconds["by_task"]),
        **{name: spread(values) for name, values in seconds.items()},
    }


def vectorized_gradient(place: Workplace) -> Parameters:
    """Return the meta-gradient, computed in one pass over a leading task axis (``torch.vmap``)."""
    trained = {name: place.parameters[name] for name in trained_names(place.method, place.parameters)}
    batches = ((*task.support[:2], *task.query[:2]) for task in place.tasks)

    def query_loss(trained: Parameters, images: Tensor, labels: Tensor, query: Tensor, truth: Tensor) -> Tensor:
        support = ImageBatch(images, labels)
        adapted, _ = adapt(place.network, place.parameters | trained, place.method, support, second_order=True)
        logits, _ = place.network(adapted, query)
        return cross_entropy(logits, truth)

    by_task = torch.vmap(torch.func.grad(query_loss), in_dims=(None, 0, 0, 0, 0))
    gradients: Parameters = by_task(trained, *map(torch.stack, zip(*batches, strict=True)))
    return {name: gradient.mean(dim=0) for name, gradient in gradients.items()}


def workplace(method: str, side: int) -> Workplace:
    """Make an untrained network and tasks of random images."""
    settings = ImageSettings(data=Path(), method=method, side=side)
    random = torch.Generator().manual_seed(0)

    def batch(each: int) -> ImageBatch:
        images = torch.randn(settings.ways * each, 3, side, side, generator=random)
        return ImageBatch(images, torch.arange(settings.ways).repeat_interleave(each))

    tasks = [ImageTask(batch(settings.shots), batch(settings.queries)) for _ in range(settings.tasks_per_iteration)]
    network = build_network(settings)
    return Workplace(network, initial_state(network, settings).parameters, get_method(method), tasks)


@contextmanager
def torch_threads_set(count: int) -> Iterator[None]:
    """Let each of torch's operations use a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
