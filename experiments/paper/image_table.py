"""The paper's Tables 2 and 4 to 7 on 4Conv with the filed results beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from typing import NamedTuple

from metarl.experiments.console.sheets import MISSING, Sheet
from metarl.experiments.paper.image_cells import BACKBONE, Cell, Scale
from metarl.experiments.paper.image_filing import (
    CROSS_DOMAIN,
    IN_DOMAIN,
    PAPER_SIDE,
    SPLIT,
    Accuracy,
    ImageResult,
    at_once,
)
from metarl.experiments.paper.published import TABLE_2
from metarl.experiments.paper.published_ablations import TABLE_4, TABLE_5, TABLE_6, TABLE_7, Accuracies
from metarl.policies.networks.conv4 import Conv4

Results = Mapping[str, ImageResult]  # by the cells' names
Training = tuple[str, Scale]  # the data and the scale

REFERENCE = "maml++"  # whose memory the others' is a share of
ACCURACY_HEADINGS = ("method", "paper", IN_DOMAIN, CROSS_DOMAIN, "iterations")
COST_HEADINGS = (
    "method",
    "layers",
    "MB: model",
    "MB: measured",
    "GMAC: model",
    f"MB at {PAPER_SIDE}: paper",
    f"MB at {PAPER_SIDE}: model",
    "share",
    f"GMAC at {PAPER_SIDE}: paper",
    f"GMAC at {PAPER_SIDE}: model",
)
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


class AblationRow(NamedTuple):
    """What an ablation is called, the paper's accuracies, and which cell and trial of it stand beside them."""

    label: str
    published: Accuracies
    cell: Cell
    trial: str = IN_DOMAIN


def sheets(results: Results) -> list[Sheet]:
    """All tables, each within 80 columns; what is not filed is a dash."""
    main = [make(shots, results) for shots in TABLE_2[BACKBONE] for make in (accuracy_sheet, cost_sheet)]
    ablations = {
        ("Table 4: meta attention", "method"): [
            AblationRow(method, published, Cell(method)) for method, published in TABLE_4[1].items()
        ],
        ("Table 5: pooling and norm, with MAML", "pooling, norm"): [
            AblationRow(f"{pooling}, {norm}", published, Cell("maml", norm=norm, pooling=pooling))
            for (pooling, norm), published in TABLE_5.items()
        ],
        ("Table 6: images in one batch, with p-Meta", "batch size"): [
            AblationRow(str(size), published, Cell("p-meta"), IN_DOMAIN if size == 1 else at_once(size))
            for size, published in TABLE_6[1].items()
        ],
        ("Table 7: scores that weigh gradients or activations", "method"): [
            AblationRow(method, published, Cell(method)) for method, published in TABLE_7[1].items()
        ],
    }
    return main + [ablation_sheet(*names, rows, results) for names, rows in ablations.items()]


def accuracy_sheet(shots: int, results: Results) -> Sheet:
    """The accuracies of Table 2."""
    rows = []
    for method, published in TABLE_2[BACKBONE][shots].items():
        name = Cell(method, shots).name
        ours = [accuracy_shown(results, name, trial) for trial in (IN_DOMAIN, CROSS_DOMAIN)]
        rows.append([method, f"{published.mini:.1f}", *ours, iterations_shown(results, name)])
    return Sheet(f"5-way {shots}-shot: accuracy", ACCURACY_HEADINGS, rows)


def cost_sheet(shots: int, results: Results) -> Sheet:
    """Memory and operations of Table 2, for images as large as in training and as large as the paper's."""
    published, rows = TABLE_2[BACKBONE][shots], []
    costs = {method: found.cost if (found := results.get(Cell(method, shots).name)) else None for method in published}
    reference = costs[REFERENCE]
    for method, paper in published.items():
        layers, *ours, memory, share, operations = [MISSING] * 7
        if cost := costs[method]:
            trained = cost.trained
            layers = layers_shown(trained.layers)
            ours = [
                f"{trained.peak_adaptation_bytes / 1e6:.3f}",
                f"{trained.measured_peak_adaptation_bytes / 1e6:.3f}",
                f"{trained.adaptation_macs / 1e9:.3f}",
            ]
            memory, operations = f"{cost.paper_bytes / 1e6:.2f}", f"{cost.paper_macs / 1e9:.2f}"
            if reference:
                share = f"{100 * cost.paper_bytes / reference.paper_bytes:.0f} %"
        at_paper_side = [f"{paper.megabytes:.2f}", memory, share, f"{paper.gmac:.2f}", operations]
        rows.append([method, layers, *ours, *at_paper_side])
    return Sheet(f"5-way {shots}-shot: one inner step", COST_HEADINGS, rows, words=2)


def ablation_sheet(title: str, heading: str, rows: Sequence[AblationRow], results: Results) -> Sheet:
    """The accuracies of an ablation, 5-way 1-shot."""
    cells = [
        [
            row.label,
            f"{row.published.mini:.1f}",
            accuracy_shown(results, row.cell.name, row.trial),
            iterations_shown(results, row.cell.name),
        ]
        for row in rows
    ]
    return Sheet(f"{title} (5-way 1-shot)", (heading, "paper", IN_DOMAIN, "iterations"), cells)


def accuracy_shown(results: Results, name: str, trial: str) -> str:
    """Mean and interval, with the data's name where a column has several."""
    accuracy = results[name].accuracies.get(trial) if name in results else None
    if accuracy is None:
        return MISSING
    several = trial == CROSS_DOMAIN and len({each.data for each in accuracies(results, trial)}) > 1
    return f"{100 * accuracy.mean:.1f} ± {100 * accuracy.ci95:.1f}" + (f" {accuracy.data}" if several else "")


def accuracies(results: Results, trial: str) -> list[Accuracy]:
    """Those of all results that have the trial."""
    return [result.accuracies[trial] for result in results.values() if trial in result.accuracies]


def iterations_shown(results: Results, name: str) -> str:
    """How long the training was, and the letter of its scale where there are several."""
    if name not in results:
        return MISSING
    result, trainings = results[name], trainings_of(results)
    letter = f" {ascii_lowercase[trainings.index((result.data, result.scale))]}" if len(trainings) > 1 else ""
    return f"{result.iterations}{letter}"


def trainings_of(results: Results) -> list[Training]:
    """What the results were trained on and at which scale, each once."""
    return list(dict.fromkeys((result.data, result.scale) for result in results.values()))


def layers_shown(layers: Sequence[str]) -> str:
    """The layers' short names, or those that are left out where that is shorter."""
    names = [short_name(layer) for layer in Conv4().layer_names]
    chosen = [short_name(layer) for layer in layers]
    others = [name for name in names if name not in chosen]
    if not chosen or not others:
        return "all" if chosen else "none"
    return min(" ".join(chosen), "all but " + " ".join(others), key=len)


def short_name(layer: str) -> str:
    """``c1`` for ``conv1``, ``n1`` for ``norm1``."""
    return layer.replace("conv", "c").replace("norm", "n")


def caption(results: Results) -> str:
    """What the columns mean, and how much was trained and tested."""
    trainings = trainings_of(results)
    letters = [f"{letter}: " if len(trainings) > 1 else "" for letter in ascii_lowercase]
    parts = [CAPTION, *(letter + scale_shown(*each) for letter, each in zip(letters, trainings, strict=False))]
    if crossed := sorted({each.data for each in accuracies(results, CROSS_DOMAIN)}):
        parts.append(f"Cross-domain: the split {SPLIT} of {' or '.join(crossed)}, whose images no training saw.")
    return "\n\n".join([*parts, *queries_shown(results)])


def scale_shown(data: str, scale: Scale) -> str:
    """A sentence on one scale."""
    side, epochs, tasks = scale.side, scale.epochs, scale.tasks_per_epoch
    return (
        f"Trained on {data} at {side} x {side} for {epochs} epochs of {tasks} tasks, validated on "
        f"{scale.validation_tasks} tasks after each, tested on {scale.test_tasks} tasks, seed {scale.seed}."
    )


def queries_shown(results: Results) -> list[str]:
    """A sentence on the query sets, if there are any."""
    found: dict[str, list[str]] = {}
    for shots in TABLE_2[BACKBONE]:
        of_shots = {name: result for name, result in results.items() if f"-{shots}shot" in name}
        for each in {(a.data, a.queries): a for result in of_shots.values() for a in result.accuracies.values()}:
            found.setdefault(each[0], []).append(f"{each[1]} with {shots}-shot")
    described = "; ".join(f"{data} {' and '.join(each)}" for data, each in found.items())
    return [f"Queries of each class: {described}."] if found else []
