"""The paper's Tables 2 and 4 to 7 on 4Conv with the filed results beside them.

Methods that the paper's Table 2 lacks follow in it once they are filed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase

from metarl.experiments.console.sheets import Column, Row, Sheet, sheet
from metarl.experiments.paper.cells import BACKBONE, CELLS, Cell, Scale
from metarl.experiments.paper.image_filing import CROSS_DOMAIN, IN_DOMAIN, PAPER_SIDE, SPLIT, at_once
from metarl.experiments.paper.published import TABLE_2, TABLE_4, TABLE_5, TABLE_6, TABLE_7, Accuracies, PublishedImages
from metarl.experiments.paper.results import ImageCost, ImageResult, Trial, read_results
from metarl.images.training import FAMILY
from metarl.policies.methods import METHODS
from metarl.policies.networks.conv4 import Conv4

Results = Mapping[str, ImageResult]  # by the cells' names
Training = tuple[str, Scale]  # the data and the scale

REFERENCE = "maml++"  # whose memory the others' is a share of
CAPTION = (
    f"Accuracy: per cent, mean and 95 % interval over unseen tasks of the split {SPLIT}, 5-way, after adaptation one "
    "image at a time (in Table 6 as many as it says). Paper: p-Meta (Qu et al., KDD 2022), 4Conv on miniImageNet. The "
    "data sets emoji and icons are drawings, not photographs: accuracies on them compare with each other alone.\n\n"
    "MB (10^6 bytes) and GMAC: peak memory and operations of one inner step, by the cost model for the layers and "
    "channels that the network chose; measured: the bytes alive at the peak while the steps ran. "
    f"At {PAPER_SIDE}: the same on images of {PAPER_SIDE} x {PAPER_SIDE}, as in the paper; share: of {REFERENCE}'s "
    "memory there. Layers: convolution (c) or norm (n) and its number, and fc.\n\n"
    "Ablations: fw and bw are the clip ratios of the forward and the backward attention, which is absent where it is "
    "not named; alpha-ch: static step sizes of channels; x and gy: the scores weigh the activations."
)


def read_image_results(results: Path) -> dict[str, ImageResult]:
    """Read all that is filed, by the cells' names; raise Refusal naming a result that cannot be read."""
    return read_results(results, FAMILY, CELLS, ImageResult)


def sheets(results: Results) -> list[Sheet]:
    """Return all tables, each within 80 columns."""
    main = [make(shots, results) for shots in TABLE_2[BACKBONE] for make in (accuracy_sheet, cost_sheet)]
    table_4 = [(method, paper, Cell(method), IN_DOMAIN) for method, paper in TABLE_4[1].items()]
    table_5 = [
        (f"{pooling}, {norm}", paper, Cell("maml", 1, norm, pooling), IN_DOMAIN)
        for pooling, norms in TABLE_5.items()
        for norm, paper in norms.items()
    ]
    table_6 = [
        (str(size), paper, Cell("p-meta"), IN_DOMAIN if size == 1 else at_once(size))
        for size, paper in TABLE_6[1].items()
    ]
    table_7 = [(method, paper, Cell(method), IN_DOMAIN) for method, paper in TABLE_7[1].items()]
    return [
        *main,
        ablation_sheet("Table 4: meta attention", "method", table_4, results),
        ablation_sheet("Table 5: pooling and norm, with MAML", "pooling, norm", table_5, results),
        ablation_sheet("Table 6: images in one batch, with p-Meta", "batch size", table_6, results),
        ablation_sheet("Table 7: scores that weigh gradients or activations", "method", table_7, results),
    ]


def accuracy_sheet(shots: int, results: Results) -> Sheet:
    """Return the accuracies of Table 2."""
    several = len({trial.data for trial in trials(results, CROSS_DOMAIN)}) > 1
    columns = (
        Column("method", "name", str),
        Column("paper", "paper", lambda paper: f"{paper.mini:.1f}"),
        Column(IN_DOMAIN, "ours", lambda ours: accuracy_shown(ours, IN_DOMAIN)),
        Column(CROSS_DOMAIN, "ours", lambda ours: accuracy_shown(ours, CROSS_DOMAIN, several)),
        Column("iterations", "ours", lambda ours: iterations_shown(ours, results)),
    )
    rows = [Row(name, paper, results.get(Cell(name, shots).name)) for name, paper in rows_of(shots, results).items()]
    return sheet(f"5-way {shots}-shot: accuracy", columns, rows)


def cost_sheet(shots: int, results: Results) -> Sheet:
    """Return memory and operations of Table 2, for images as large as in training and as large as the paper's."""
    published = rows_of(shots, results)
    costs = {method: found.cost if (found := results.get(Cell(method, shots).name)) else None for method in published}
    reference = costs[REFERENCE]

    def share(cost: ImageCost) -> str | None:
        return f"{100 * cost.paper_bytes / reference.paper_bytes:.0f} %" if reference else None

    at = f"at {PAPER_SIDE}"
    columns = (
        Column("method", "name", str),
        Column("layers", "ours", lambda ours: layers_shown(ours.trained.layers)),
        Column("MB: model", "ours", lambda ours: f"{ours.trained.peak_adaptation_bytes / 1e6:.3f}"),
        Column("MB: measured", "ours", lambda ours: f"{ours.trained.measured_peak_adaptation_bytes / 1e6:.3f}"),
        Column("GMAC: model", "ours", lambda ours: f"{ours.trained.adaptation_macs / 1e9:.3f}"),
        Column(f"MB {at}: paper", "paper", lambda paper: f"{paper.megabytes:.2f}"),
        Column(f"MB {at}: model", "ours", lambda ours: f"{ours.paper_bytes / 1e6:.2f}"),
        Column("share", "ours", share),
        Column(f"GMAC {at}: paper", "paper", lambda paper: f"{paper.gmac:.2f}"),
        Column(f"GMAC {at}: model", "ours", lambda ours: f"{ours.paper_macs / 1e9:.2f}"),
    )
    rows = [Row(method, paper, costs[method]) for method, paper in published.items()]
    return sheet(f"5-way {shots}-shot: one inner step", columns, rows, words=2)


def rows_of(shots: int, results: Results) -> dict[str, PublishedImages | None]:
    """Return what Table 2 reports of each method, None of those that are filed and that it lacks."""
    published = TABLE_2[BACKBONE][shots]
    filed = {name for name in METHODS if Cell(name, shots).name in results}
    return {name: published.get(name) for name in METHODS if name in {*published, *filed}}


def ablation_sheet(
    title: str, heading: str, ablations: Sequence[tuple[str, Accuracies, Cell, str]], results: Results
) -> Sheet:
    """Return the accuracies of an ablation, 5-way 1-shot.

    Args:
        title: Title of the sheet.
        heading: Heading of the first column.
        ablations: For each row its name, the paper's accuracies, and the cell and the trial that stand beside them.
        results: The filed results by the cells' names.

    Returns:
        The sheet.
    """
    columns = (
        Column(heading, "name", str),
        Column("paper", "paper", lambda paper: f"{paper.mini:.1f}"),
        Column(IN_DOMAIN, "ours", lambda ours: accuracy_shown(*ours)),
        Column("iterations", "ours", lambda ours: iterations_shown(ours[0], results)),
    )
    rows = [
        Row(name, paper, (results[cell.name], trial) if cell.name in results else None)
        for name, paper, cell, trial in ablations
    ]
    return sheet(f"{title} (5-way 1-shot)", columns, rows)


def accuracy_shown(result: ImageResult, name: str, several: bool = False) -> str | None:
    """Return a trial's mean and interval, and the data's name where a column has several; None without such a trial."""
    if name not in result.trials:
        return None
    trial = result.trials[name]
    after = trial.accuracies[-1]
    return f"{100 * after.mean:.1f} ± {100 * after.ci95:.1f}" + (f" {trial.data}" if several else "")


def trials(results: Results, name: str) -> list[Trial]:
    """Return the trials of this name in all results."""
    return [result.trials[name] for result in results.values() if name in result.trials]


def iterations_shown(result: ImageResult, results: Results) -> str:
    """Return how long the training was, and the letter of its scale where there are several."""
    trainings = trainings_of(results)
    letter = f" {ascii_lowercase[trainings.index((result.data, result.scale))]}" if len(trainings) > 1 else ""
    return f"{result.iterations}{letter}"


def trainings_of(results: Results) -> list[Training]:
    """Return what the results were trained on and at which scale, each once."""
    return list(dict.fromkeys((result.data, result.scale) for result in results.values()))


def layers_shown(layers: Sequence[str]) -> str:
    """Return the layers' short names, or those that are left out where that is shorter."""
    names = [short_name(layer) for layer in Conv4().layer_names]
    chosen = [short_name(layer) for layer in layers]
    others = [name for name in names if name not in chosen]
    if not chosen or not others:
        return "all" if chosen else "none"
    return min(" ".join(chosen), "all but " + " ".join(others), key=len)


def short_name(layer: str) -> str:
    """Return ``c1`` for ``conv1``, ``n1`` for ``norm1``."""
    return layer.replace("conv", "c").replace("norm", "n")


def caption(results: Results) -> str:
    """Return what the columns mean, and how much was trained and tested."""
    trainings = trainings_of(results)
    letters = [f"{letter}: " if len(trainings) > 1 else "" for letter in ascii_lowercase]
    parts = [CAPTION, *(letter + scale_shown(*each) for letter, each in zip(letters, trainings, strict=False))]
    if crossed := sorted({trial.data for trial in trials(results, CROSS_DOMAIN)}):
        parts.append(f"Cross-domain: the split {SPLIT} of {' or '.join(crossed)}, whose images no training saw.")
    return "\n\n".join([*parts, *queries_shown(results)])


def scale_shown(data: str, scale: Scale) -> str:
    """Return a sentence on one scale."""
    side, epochs, tasks = scale.side, scale.epochs, scale.tasks_per_epoch
    return (
        f"Trained on {data} at {side} x {side} for {epochs} epochs of {tasks} tasks, validated on "
        f"{scale.validation_tasks} tasks after each, tested on {scale.test_tasks} tasks, seed {scale.seed}."
    )


def queries_shown(results: Results) -> list[str]:
    """Return a sentence on the query sets, if there are any."""
    found: dict[str, list[str]] = {}
    for shots in TABLE_2[BACKBONE]:
        of_shots = [trial for result in results.values() for trial in result.trials.values() if trial.shots == shots]
        for data, queries in dict.fromkeys((trial.data, trial.queries) for trial in of_shots):
            found.setdefault(data, []).append(f"{queries} with {shots}-shot")
    described = "; ".join(f"{data} {' and '.join(each)}" for data, each in found.items())
    return [f"Queries of each class: {described}."] if found else []
