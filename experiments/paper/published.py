"""What the paper reports (p-Meta, Qu et al., KDD 2022), read from ``published.json``.

MB are 10^6 bytes, accuracies per cent. A row of the file has its numbers in the order of the class's fields.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from metarl.policies.networks.kinds import Norm
from metarl.policies.networks.layers import Pooling


class Published(NamedTuple):
    """A controller's mean return after adaptation, and an inner step's operations and peak memory."""

    mean_return: float
    gmac: float
    megabytes: float


class PublishedSizes(NamedTuple):
    """Memory (MB) and operations (GMAC) of one inner step on all samples in one batch, and of inference."""

    static_megabytes: float
    inference_megabytes: float
    adaptation_megabytes: float
    inference_gmac: float
    adaptation_gmac: float


class PublishedImages(NamedTuple):
    """Accuracies after adaptation on three data sets, and an inner step's operations and peak memory."""

    mini: float
    tiered: float
    cub: float
    gmac: float
    megabytes: float


class Accuracies(NamedTuple):
    """Accuracies of a network meta-trained on miniImageNet: there, on tieredImageNet and on CUB."""

    mini: float
    tiered: float
    cub: float


class Tables(NamedTuple):
    """The tables of the paper.

    Table 1, by network: 5-way 5-shot, and 20 episodes of 200 observations for the policy of half-cheetah.
    Table 2, by backbone, shots and method: 5-way, meta-trained on miniImageNet, 5000 unseen tasks, one image at a time.
    Table 3, by family and method: one inner step on 20 episodes of 200 observations, 400 unseen tasks.
    Table 4, by shots and method: both attentions with their clip ratios, or step sizes of channels in their place.
    Table 5, by pooling and norm: MAML, 1 shot. Max pooling with group norm has 39.7 on CUB in Table 2.
    Table 6, by shots and images at once: p-Meta.
    Table 7, by shots and method: scores of one side at a clip ratio of 0.3 on the weight gradient, or on x and g(y).
    Tables 4 to 7 are about 4Conv, 5-way.
    """

    table_1: dict[str, PublishedSizes]
    table_2: dict[str, dict[int, dict[str, PublishedImages]]]
    table_3: dict[str, dict[str, Published]]
    table_4: dict[int, dict[str, Accuracies]]
    table_5: dict[Pooling, dict[Norm, Accuracies]]
    table_6: dict[int, dict[int, Accuracies]]
    table_7: dict[int, dict[str, Accuracies]]


TABLES = TypeAdapter(Tables).validate_json(Path(__file__).with_suffix(".json").read_bytes())
TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6, TABLE_7 = TABLES
METHODS = tuple(TABLE_3["navigation-2d"])
