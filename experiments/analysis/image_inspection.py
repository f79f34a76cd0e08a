"""Tell what an image network is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from metarl.core.text import plural
from metarl.envs.images.image_set import Progress
from metarl.experiments.analysis import image_costs
from metarl.experiments.analysis.adaptable import attended
from metarl.experiments.analysis.image_evaluation import few_tasks
from metarl.experiments.analysis.inspection import (
    Report,
    Taken,
    facts_table,
    inspected,
    method_fact,
    report_record,
    shown,
)
from metarl.policies.classifier import Classifier
from metarl.policies.files.checks import check_adaptable
from metarl.policies.files.controller_file import to_json
from metarl.policies.methods import get_method
from metarl.policies.networks.network import ImageNetwork
from metarl.policies.networks.registry import kind_of

# Names of the kinds of layers that leave room for the other columns.
SHORT = {"convolution": "conv", "group_norm": "norm", "batch_norm": "norm"}
NO_IMAGES = "it depends on the images, so name a folder of them with --data"


def inspected_classifier(classifier: Classifier, data: Path | None, seed: int, progress: Progress | None) -> Report:
    """Find out what an adaptation does; attention judges tasks of the folder's split val, and nothing without one.

    Raise Refusal saying what is wrong with the folder.

    Args:
        classifier: The network.
        data: The folder of the data set; None if attention has nothing to judge.
        seed: The seed of the tasks.
        progress: Called while images are read.
    """
    tasks = few_tasks(classifier, data, seed, progress) if data else []

    def take() -> Taken:
        method = get_method(classifier.metadata.method)
        check_adaptable(classifier.parameters, classifier.network, method, on_device=False)
        return image_costs.take_image_steps(classifier, tasks)

    return inspected(classifier, image_costs.image_workload(classifier), take if tasks else None, NO_IMAGES)


def classifier_facts(name: str, classifier: Classifier, report: Report) -> Table:
    """Return what the classifier is, a line each."""
    network, metadata = classifier.network, classifier.metadata
    images = plural(network.ways * metadata.shots, "image")
    facts = {
        "controller": name,
        "method": method_fact(metadata.method),
        "network": network_text(network),
        "images": f"{network.side} x {network.side} RGB",
        "tasks": f"{network.ways} ways, {plural(metadata.shots, 'shot')}, "
        f"{metadata.queries} queries of each class, from {shown(metadata.data)}",
        "adaptation": f"{plural(metadata.inner_steps, 'step')}, each on the same {images}",
    }
    return facts_table(facts, metadata.training, report)


def network_text(network: ImageNetwork) -> str:
    """Return e.g. ``conv4: 32 channels, group norm, max pooling``."""
    channels = dict.fromkeys(str(layer.outputs) for layer in network.layers if layer.kind == "convolution")
    pooling = dict.fromkeys(layer.pooling for layer in network.layers if layer.pooling)
    pooled = "".join(f", {name} pooling" for name in pooling)
    return f"{kind_of(network)}: {', '.join(channels)} channels, {network.norm} norm{pooled}"


def classifier_layers(classifier: Classifier, report: Report) -> Table:
    """Return a row per layer, with the least and the most over the inner steps where they differ."""
    kept = ("kept\nin", "kept\nout") if attended(classifier) else ()
    # Without vertical lines the names of a residual network leave room for all columns in 80 characters.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("layer", no_wrap=True)
    for heading in ("kind", "channels", "step size", "adapts", *kept):
        table.add_column(heading)
    for layer, described in zip(report.layers, classifier.network.layers, strict=True):
        shares = (layer.kept_inputs, layer.kept_outputs) if kept else ()
        table.add_row(
            layer.name,
            SHORT.get(described.kind, described.kind),
            f"{layer.inputs}→{layer.outputs}",
            " to ".join(ends(f"{size:.2g}" for size in sorted(layer.step_sizes))),
            layer.adapting_steps,
            *map(percent, shares),
        )
    return table


def percent(shares: Sequence[float | None]) -> str:
    """Return ``20 %`` or ``20-25 %`` for the shares that are known, ``-`` if none is."""
    known = sorted(share for share in shares if share is not None)
    return f"{'-'.join(ends(f'{100 * share:.0f}' for share in known))} %" if known else "-"


def ends(texts: Iterable[str]) -> list[str]:
    """Return the first and the last, or only one of them if they look alike."""
    every = list(texts)
    return list(dict.fromkeys(every[:1] + every[-1:]))


def classifier_record(classifier: Classifier, report: Report) -> dict[str, Any]:
    """Return what ``--json`` writes."""
    work = image_costs.image_workload(classifier)
    kinds = [layer.kind for layer in classifier.network.layers]
    layers = [asdict(layer) | {"kind": kind} for layer, kind in zip(report.layers, kinds, strict=True)]
    return report_record(to_json(classifier.metadata, classifier.network), report, work) | {"layers": layers}
