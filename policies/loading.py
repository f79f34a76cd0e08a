"""Read the file of a policy or of an image network: nothing in it is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from metarl.core.errors import Refusal
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.policies.files.controller_file import read_controller
from metarl.policies.files.metadata import ClassifierMetadata
from metarl.policies.files.pretrained import find_controller
from metarl.policies.nested import load_nested
from metarl.policies.networks.registry import kind_of


class Sb3Files(NamedTuple):
    """What a meta-training starts from: files of Stable-Baselines3."""

    policy: Path  # the .zip that PPO saved
    normalization: Path | None = None  # what VecNormalize saved; None if the policy saw observations as they are


def load(path: str | Path, subnet: int | None = None) -> Controller | Classifier:
    """Return the policy or the image network of a controller's file; of nested subnets, the one of that number.

    ``path`` is the file, a run's folder with ``controller.safetensors`` in it, or the name FAMILY/METHOD of one that
    comes with metarl; a file or folder of that path comes first. Raise ValueError if the file is missing, damaged,
    altered, another program's, or of a newer version of the format, and if it holds nested subnets just where no
    ``subnet`` is named.
    """
    if subnet is not None:
        return load_nested(path).subnet(subnet).controller()
    try:
        metadata, network, parameters = read_controller(find_controller(path))
        if isinstance(metadata, ClassifierMetadata):
            return Classifier(parameters, network, metadata)
        return Controller(parameters, network, metadata)
    except ValueError as error:
        raise Refusal(f"{path}: {error}") from None


def load_controller(path: str | Path, subnet: int | None = None) -> Controller:
    """Return the policy of a file, as ``load`` does; raise ValueError if it holds an image network."""
    return require_controller(load(path, subnet), str(path))


def load_start(
    init: Controller | str | Path | None, normalization: str | Path | None = None
) -> Controller | Sb3Files | None:
    """Return what a meta-training starts from: a controller, as ``load`` does, the files of a PPO, or None.

    ``normalization`` is what VecNormalize saved beside PPO's ``.zip``; Refusal if it goes with anything else.
    """
    if isinstance(init, str | Path) and Path(init).suffix == ".zip":
        return Sb3Files(Path(init), None if normalization is None else Path(normalization))
    if normalization is not None:
        raise Refusal("statistics of VecNormalize go with the .zip of a PPO to start from, which is not given")
    return load_controller(init) if isinstance(init, str | Path) else init and require_controller(init)


def load_classifier(path: str | Path, subnet: int | None = None) -> Classifier:
    """Return the image network of a file, as ``load`` does; raise ValueError if it holds a policy."""
    loaded = load(path, subnet)
    if isinstance(loaded, Controller):
        raise Refusal(f"{path}: this is a policy ({loaded.metadata.family}), and an image network is needed here")
    return loaded


def require_controller(loaded: Controller | Classifier, name: str = "the controller") -> Controller:
    """Return a policy as it is; raise ValueError for an image network, with the ``name`` of what was given."""
    if isinstance(loaded, Classifier):
        raise Refusal(f"{name}: this is an image network ({kind_of(loaded.network)}), and a policy is needed here")
    return loaded
