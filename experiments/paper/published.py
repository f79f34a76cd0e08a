"""What the paper reports, to stand beside what is measured here."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """A controller's mean return after adaptation, and an inner step's operations and peak memory (MB = 10^6 bytes)."""

    mean_return: float
    gmac: float
    megabytes: float


# p-Meta (Qu et al., KDD 2022), Table 3: one inner step on 20 episodes of 200 observations, 400 unseen tasks.
TABLE_3 = {
    "half-cheetah-velocity": {
        "maml": Published(-82.2, 0.15, 0.24),
        "anil": Published(-78.8, 0.06, 0.09),
        "boil": Published(-76.4, 0.15, 0.23),
        "maml++": Published(-69.6, 0.15, 0.24),
        "p-meta-layers": Published(-65.5, 0.11, 0.12),
        "p-meta": Published(-64.0, 0.11, 0.11),
    },
    "navigation-2d": {
        "maml": Published(-13.3, 0.12, 0.21),
        "anil": Published(-13.8, 0.04, 0.08),
        "boil": Published(-12.4, 0.12, 0.21),
        "maml++": Published(-17.6, 0.12, 0.21),
        "p-meta-layers": Published(-11.2, 0.09, 0.09),
        "p-meta": Published(-11.8, 0.09, 0.09),
    },
}
METHODS = tuple(TABLE_3["navigation-2d"])


class PublishedSizes(NamedTuple):
    """Memory (MB) and operations (GMAC) of one inner step on all samples in one batch, and of inference."""

    static_megabytes: float
    inference_megabytes: float
    adaptation_megabytes: float
    inference_gmac: float
    adaptation_gmac: float


# Table 1: 5-way 5-shot, and 20 episodes of 200 observations. The policy is that of half-cheetah.
TABLE_1 = {
    "conv4": PublishedSizes(0.13, 0.90, 48.33, 0.72, 1.96),
    "resnet12": PublishedSizes(32.0, 3.61, 370.44, 62.08, 185.42),
    "mlp": PublishedSizes(0.05, 0.08, 3.72, 0.05, 0.15),
}


class PublishedImages(NamedTuple):
    """Accuracies after adaptation on three data sets, in per cent, and an inner step's operations and peak memory."""

    mini: float
    tiered: float
    cub: float
    gmac: float
    megabytes: float


# Table 2: 5-way, meta-trained on miniImageNet, 5000 unseen tasks, adaptation one image at a time. By backbone, by the
# number of shots and by method.
TABLE_2 = {
    "conv4": {
        1: {
            "maml": PublishedImages(46.2, 51.4, 39.7, 0.39, 2.06),
            "anil": PublishedImages(46.4, 51.5, 39.2, 0.14, 0.92),
            "boil": PublishedImages(44.7, 51.3, 42.3, 0.39, 2.05),
            "maml++": PublishedImages(48.2, 53.2, 43.2, 0.39, 2.06),
            "p-meta-layers": PublishedImages(47.1, 52.3, 41.8, 0.16, 1.00),
            "p-meta": PublishedImages(48.8, 53.9, 42.6, 0.15, 0.99),
        },
        5: {
            "maml": PublishedImages(61.4, 66.5, 55.6, 1.96, 2.06),
            "anil": PublishedImages(60.6, 64.5, 54.2, 0.72, 0.92),
            "boil": PublishedImages(60.5, 65.3, 58.3, 1.96, 2.05),
            "maml++": PublishedImages(63.7, 68.5, 59.1, 1.96, 2.06),
            "p-meta-layers": PublishedImages(62.9, 68.3, 59.3, 1.34, 1.09),
            "p-meta": PublishedImages(65.0, 68.5, 60.2, 1.11, 1.04),
        },
    },
    "resnet12": {
        1: {
            "maml": PublishedImages(51.7, 57.4, 41.3, 37.08, 54.69),
            "anil": PublishedImages(50.3, 56.7, 40.6, 12.42, 3.62),
            "boil": PublishedImages(42.7, 47.7, 44.2, 37.08, 54.69),
            "maml++": PublishedImages(53.1, 58.6, 45.1, 37.08, 54.69),
            "p-meta-layers": PublishedImages(51.8, 58.3, 40.6, 25.84, 17.66),
            "p-meta": PublishedImages(53.6, 59.4, 45.4, 24.02, 16.01),
        },
        5: {
            "maml": PublishedImages(64.7, 69.6, 53.8, 185.42, 54.69),
            "anil": PublishedImages(62.3, 68.7, 54.0, 62.08, 3.62),
            "boil": PublishedImages(53.6, 59.8, 53.7, 185.42, 54.69),
            "maml++": PublishedImages(68.6, 73.4, 63.9, 185.42, 54.69),
            "p-meta-layers": PublishedImages(68.8, 72.6, 65.9, 124.15, 18.95),
            "p-meta": PublishedImages(69.7, 73.3, 66.6, 116.79, 17.17),
        },
    },
}
