"""``metarl cost`` for image networks: which one, the images it adapts to, and its cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from metarl.core.text import plural
from metarl.experiments.analysis import image_costs
from metarl.experiments.analysis.adaptable import attended, model_cost, parameters_adapting
from metarl.experiments.analysis.costing import Costing, chosen_layers
from metarl.experiments.analysis.image_evaluation import few_tasks
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import refuse
from metarl.experiments.console.progress import decoding_line
from metarl.images.tasks import ImageTask
from metarl.policies.classifier import Classifier
from metarl.policies.compression.bases import stored_layers
from metarl.policies.loading import load, load_classifier
from metarl.policies.networks.registry import kind_of

if TYPE_CHECKING:
    from metarl.experiments.commands.cost import Cost


def is_about_images(command: Cost) -> bool:
    """Return whether the command is about an image network, and not about a policy."""
    if command.controller is None:
        return command.image.backbone is not None
    return isinstance(load(command.controller, command.subnet), Classifier)


def image_costing(command: Cost) -> Costing:
    """Return the cost of an image network, by the model and, if it is asked for, measured."""
    refuse(command.policy, "is about policies: leave it out for an image network")
    classifier = chosen(command)
    network, metadata, at_once = classifier.network, classifier.metadata, command.chunk or 1
    work = image_costs.image_workload(classifier, at_once)
    tasks = tasks_to_adapt_to(classifier, command) if attended(classifier) or command.measure else []
    taken = image_costs.take_image_steps(classifier, tasks, at_once) if attended(classifier) else ()
    return Costing(
        title=f"{kind_of(network)} on images of {network.side} x {network.side}, {metadata.method}",
        layers=stored_layers(network.layers, classifier.parameters),
        work=work,
        result=model_cost(classifier, work, taken),
        step=f"One adaptation step: {network.ways} classes with {plural(metadata.shots, 'image')} each, "
        f"{plural(at_once, 'image')} at a time, their gradients added up.",
        data="random images" if command.image.data is None else f"tasks of {command.image.data}",
        attended=attended(classifier),
        measured=image_costs.measured_peak(classifier, tasks[0].support, at_once) if command.measure else None,
        sizes={"side": network.side, "ways": network.ways, "shots": metadata.shots},
    )


def chosen(command: Cost) -> Classifier:
    """Return a file's image network or an untrained one, with the layers and shots that are asked for."""
    if command.controller is not None:
        refuse(command.image, "goes with --backbone: a controller has its own", "side", "ways")
        classifier = load_classifier(command.controller, command.subnet)
    else:
        assert command.image.backbone is not None and command.method is not None
        sizes = {"side": command.image.side, "ways": command.image.ways, "shots": command.image.shots}
        given = {name: size for name, size in sizes.items() if size is not None}
        classifier = image_costs.untrained(command.image.backbone, command.method, **given)
    if command.image.shots is not None:
        classifier = replace(classifier, metadata=replace(classifier.metadata, shots=command.image.shots))
    if command.layers is not None:
        layers = chosen_layers(command.layers, classifier.network.layer_names)
        classifier = replace(classifier, parameters=parameters_adapting(classifier, layers))
    return classifier


def tasks_to_adapt_to(classifier: Classifier, command: Cost) -> list[ImageTask]:
    """Return a few tasks of the folder's validation split, or of random images."""
    if command.image.data is None:
        return image_costs.random_tasks(classifier.network, classifier.metadata.shots, command.seed)
    return few_tasks(classifier, command.image.data, command.seed, decoding_line(Terminal()))
