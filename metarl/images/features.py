"""How features cluster by class, and how alike two networks' features are. Pure functions.

Feature clustering and hyperplane variation are those of Goldblum et al., Unraveling Meta-Learning, ICML 2020
(Sec. 4 and 5), in the form that their published numbers follow: over pairs of classes with two images each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.policies.networks.network import ImageNetwork, Parameters

STABLE_VARIANCE, STABLE_LENGTH = 1e-6, 1e-4  # added to what is divided by, for classes that coincide


@torch.no_grad()
def features_of(network: ImageNetwork, parameters: Parameters, images: Tensor) -> Tensor:
    """Return what the last layer takes [image, feature], of images [image, 3, side, side]."""
    _, trace = network(parameters, images)
    return trace[network.layer_names[-1]].input.flatten(1)


def feature_clustering(first: Tensor, second: Tensor) -> Tensor:
    """Return the variance within the classes over that between them, R_FC.

    Args:
        first: Features of two images of a class, for each pair of classes, [pair, 2, feature].
        second: The same of the pair's other class.

    Returns:
        Ratios [pair]: 0 where each class is a point, 4 on average where features do not depend on the class.
    """
    middles = first.mean(dim=1), second.mean(dim=1)
    within = sum(
        ((each - middle.unsqueeze(1)) ** 2).sum(dim=(1, 2))
        for each, middle in zip((first, second), middles, strict=True)
    )
    middle = (middles[0] + middles[1]) / 2
    between = sum(((each - middle) ** 2).sum(dim=1) for each in middles)
    return torch.as_tensor(within / (between + STABLE_VARIANCE))


def hyperplane_variation(first: Tensor, second: Tensor, plain: bool = False) -> Tensor:
    """Return how much the line between two classes turns with the images that it is drawn from, R_HV.

    Args:
        first: Features of two images of a class, for each pair of classes, [pair, 2, feature].
        second: The same of the pair's other class.
        plain: Whether to return the formula as it is printed, from 0 to 1, in place of its published numbers' form.

    Returns:
        Numbers [pair] from 0 to 4; 2 on average where features do not depend on the class.
    """
    lines = first - second
    turned = (lines[:, 0] - lines[:, 1]).norm(dim=1)
    lengths = lines.norm(dim=2).sum(dim=1)
    variation: Tensor = turned / (lengths + STABLE_LENGTH)
    return variation if plain else (2 * variation) ** 2


def variance_ratio(features: Tensor, labels: Tensor) -> Tensor:
    """Return the variance within classes over that between them, for one set of images with equally large classes.

    Args:
        features: Of each image, [image, feature].
        labels: Its class, [image].

    Returns:
        The ratio, a scalar.
    """
    middles = torch.stack([features[labels == label].mean(dim=0) for label in labels.unique()])
    own = torch.searchsorted(labels.unique(), labels)
    within = ((features - middles[own]) ** 2).sum() / len(features)
    between = ((middles - features.mean(dim=0)) ** 2).sum() / len(middles)
    return within / (between + STABLE_VARIANCE)


def linear_cka(features: Tensor, others: Tensor) -> Tensor:
    """Return how alike two networks' features of the same images are, 0 to 1 (Kornblith et al., ICML 2019, Sec. 3).

    Args:
        features: Of one network, [image, feature].
        others: Of the other, [image, other feature].

    Returns:
        The centered kernel alignment, a scalar; rotating or scaling the features of either changes nothing.
    """
    centered, other = features - features.mean(dim=0), others - others.mean(dim=0)
    across = (other.mT @ centered).norm() ** 2
    alike: Tensor = across / ((centered.mT @ centered).norm() * (other.mT @ other).norm())
    return alike
