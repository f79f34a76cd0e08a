"""What the paper reports of p-Meta's ablations on images: accuracies after adaptation, 4Conv, 5-way (Tables 4 to 7)."""

from __future__ import annotations

from typing import NamedTuple

from metarl.policies.networks.kinds import Norm
from metarl.policies.networks.layers import Pooling


class Accuracies(NamedTuple):
    """In per cent, on miniImageNet, where all were meta-trained, on tieredImageNet and on CUB."""

    mini: float
    tiered: float
    cub: float


# Table 4: forward and backward attention with their clip ratios, or static step sizes of channels in their place. By
# the number of shots and by method.
TABLE_4 = {
    1: {
        "p-meta-layers": Accuracies(47.1, 52.3, 41.8),
        "p-meta-fw0": Accuracies(48.1, 53.2, 41.7),
        "p-meta-bw0": Accuracies(47.8, 53.1, 40.9),
        "p-meta-fw0-bw0": Accuracies(49.0, 54.2, 43.1),
        "p-meta-fw0-bw0.3": Accuracies(48.5, 53.4, 42.2),
        "p-meta": Accuracies(48.8, 53.9, 42.6),
        "p-meta-fw0.3-bw0.3": Accuracies(48.7, 53.7, 42.3),
        "p-meta-fw0.5-bw0.5": Accuracies(48.2, 53.4, 42.7),
        "p-meta-alpha-ch": Accuracies(47.8, 52.8, 41.0),
    },
    5: {
        "p-meta-layers": Accuracies(62.9, 68.3, 59.3),
        "p-meta-fw0": Accuracies(64.1, 68.4, 59.0),
        "p-meta-bw0": Accuracies(63.9, 68.5, 60.0),
        "p-meta-fw0-bw0": Accuracies(64.5, 69.2, 60.2),
        "p-meta-fw0-bw0.3": Accuracies(64.7, 68.2, 59.3),
        "p-meta": Accuracies(65.0, 68.5, 60.2),
        "p-meta-fw0.3-bw0.3": Accuracies(64.5, 68.3, 59.5),
        "p-meta-fw0.5-bw0.5": Accuracies(64.8, 68.1, 59.1),
        "p-meta-alpha-ch": Accuracies(63.6, 68.1, 58.1),
    },
}

# Table 5: MAML, 1 shot, by pooling and norm. The last row is that of Table 2, which prints 39.7 on CUB.
TABLE_5: dict[tuple[Pooling, Norm], Accuracies] = {
    ("average", "batch"): Accuracies(25.3, 27.2, 26.1),
    ("average", "group"): Accuracies(45.8, 50.3, 40.2),
    ("max", "batch"): Accuracies(27.6, 28.9, 26.5),
    ("max", "group"): Accuracies(46.2, 51.4, 39.9),
}

# Table 6: p-Meta adapted with so many images at once, by the number of shots.
TABLE_6 = {
    1: {
        1: Accuracies(48.8, 53.9, 42.6),
        2: Accuracies(48.7, 53.6, 42.1),
        5: Accuracies(48.3, 54.3, 42.4),
    },
    5: {
        1: Accuracies(65.0, 68.5, 60.2),
        5: Accuracies(65.1, 68.9, 59.5),
        25: Accuracies(64.7, 68.1, 60.6),
    },
}

# Table 7: the scores of one side at a clip ratio of 0.3 on the weight gradient, or on the activations x and g(y). By
# the number of shots and by method.
TABLE_7 = {
    1: {
        "p-meta-layers": Accuracies(47.1, 52.3, 41.8),
        "p-meta-fw0.3": Accuracies(48.2, 53.6, 41.2),
        "p-meta-x0.3": Accuracies(37.4, 37.9, 35.4),
        "p-meta-bw0.3": Accuracies(48.0, 53.0, 42.6),
        "p-meta-gy0.3": Accuracies(22.8, 21.1, 20.6),
    },
    5: {
        "p-meta-layers": Accuracies(62.9, 68.3, 59.3),
        "p-meta-fw0.3": Accuracies(63.6, 69.0, 59.0),
        "p-meta-x0.3": Accuracies(47.9, 49.3, 42.5),
        "p-meta-bw0.3": Accuracies(64.0, 67.8, 59.9),
        "p-meta-gy0.3": Accuracies(20.7, 21.0, 20.4),
    },
}
