"""Export of a controller to C for a microcontroller."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from metarl.core.errors import Refusal
from metarl.policies.compression.bases import refuse_bases
from metarl.policies.controller import Controller, estimator_of, require_vectors
from metarl.policies.device.episodes import Episode
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.network import DeviceLayer, device_layers
from metarl.policies.device.stream_program import check_streaming
from metarl.policies.export.c_extras import makefile, readme, selftest
from metarl.policies.export.c_files import STATE_BYTES, Generated, stored_offsets
from metarl.policies.export.c_text import check_prefix, identifier, shipped
from metarl.policies.export.fitting import fitted
from metarl.policies.export.recordings import normalized, statistics, without_statistics
from metarl.policies.files.checks import check_adaptable
from metarl.policies.methods import STEP_SIZES, get_method

PARTS = [
    "accumulators",
    "advantages",
    "attention",
    "calls",
    "changes",
    "layers",
    "memory",
    "passes",
    "policy",
    "pruned",
    "saving",
    "streaming",
]
RUNTIME = (
    "metarl.h",
    "metarl_kernels.h",
    "metarl_internal.h",
    *(f"metarl_{part}.c" for part in PARTS),
)


EXAMPLE = ("metarl_storage_ram.h", "metarl_storage_ram.c")


@dataclass(frozen=True)
class COptions:
    """How a controller is exported to C.

    Attributes:
        ram: The bytes of RAM that it has to fit into; None: no bound.
        channels: The input channels that attention may keep of a layer, by layer; all of a layer that is missing.
        packed_range: The lowest and the highest observation, to record observations in 8 bits and no actions; None
            records float32.
        prefix: What its names in C begin with; None: the method's and family's.
        policy_only: Whether it acts alone, and does not adapt.
        streaming: Whether it adapts with nothing stored.
    """

    ram: int | None = None
    channels: Mapping[str, int] | None = None
    packed_range: tuple[FloatArray, FloatArray] | None = None
    prefix: str | None = None
    policy_only: bool = False
    streaming: bool = False


def generated(controller: Controller, options: COptions) -> Generated:
    """Return a controller with all that its files in C are made of.

    Raises:
        Refusal: If the controller cannot be adapted on a device, its actions are choices, the prefix is no identifier,
            its weights are binary bases, or it does not fit.
    """
    require_vectors(controller, "the export to C")
    if not options.policy_only:
        refuse_bases(controller.parameters, "the export of an inner step to C")
    prefix = check_prefix(options.prefix or default_prefix(controller))
    metadata = controller.metadata
    steps = [] if options.policy_only else _steps(controller)
    if options.streaming:
        check_streaming(get_method(metadata.method))
    estimator = estimator_of(metadata)
    channels = _channels(steps, options.channels or {})
    sizes, program = fitted(
        steps,
        max(controller.network.sizes),
        metadata.episodes_per_step,
        metadata.horizon,
        estimator,
        channels,
        options.ram,
        STATE_BYTES,
        options.streaming,
    )
    normalization = statistics(controller)
    packed_range = options.packed_range
    if packed_range is not None and normalization is not None:
        packed_range = normalized(packed_range[0], normalization), normalized(packed_range[1], normalization)
    layers = steps[0] if steps else _still(controller)
    stored = stored_offsets(layers) if sizes.windows else {}
    return Generated(
        controller=without_statistics(controller),
        normalization=normalization,
        prefix=prefix,
        checksum=checksum(controller),
        layers=layers,
        sizes=sizes,
        program=program,
        estimator=estimator,
        packed_range=packed_range,
        stored=stored,
    )


def write_c(
    controller: Controller, out: str | Path, options: COptions | None = None, episodes: Sequence[Episode] = ()
) -> Generated:
    """Write a controller, the runtime, an example and a description to a new or empty folder.

    Args:
        controller: The controller.
        out: The folder.
        options: How it is exported; None: with all that its adaptation may take.
        episodes: Episodes that a robot may record, for the self-test; random ones if empty.

    Returns:
        What was written.

    Raises:
        Refusal: As ``generated``, or if the folder holds something or cannot be written.
    """
    made = generated(controller, options or COptions())
    text = {**files(made), **extras(made, episodes)}
    check_new_folder(out)
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        for name, content in text.items():
            (Path(out) / name).write_text(content, encoding="ascii")
    except OSError as error:
        raise Refusal(f"cannot write to {out}: {error.strerror or error}") from None
    return made


def check_that_streaming_pays(made: Generated) -> None:
    """Raise Refusal if a robot with nothing stored takes more memory than its recorded episodes would."""
    metadata = made.controller.metadata
    recorded = metadata.episodes_per_step * metadata.horizon * made.row_bytes
    if made.robot_bytes > recorded:
        raise Refusal(
            f"with nothing stored the robot takes {made.robot_bytes} bytes, more than the {recorded} bytes of its "
            "episodes: cavia and anil fit, trained with --baseline time where need be"
        )


def check_new_folder(out: str | Path) -> None:
    """Raise Refusal if something is there that is not an empty folder."""
    out = Path(out)
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise Refusal(f"{out} is there already and is not an empty folder: choose another")
    except OSError as error:
        raise Refusal(f"cannot write to {out}: {error.strerror or error}") from None


def default_prefix(controller: Controller) -> str:
    """Return a prefix made of the method's name: ``p_meta``."""
    return identifier(controller.metadata.method).strip("_")


def checksum(controller: Controller) -> int:
    """Return a number that tells the controller's network and parameters from others."""
    value = zlib.crc32(repr(controller.network).encode())
    for name in sorted(controller.parameters):
        value = zlib.crc32(controller.parameters[name].numpy().tobytes(), zlib.crc32(name.encode(), value))
    return value


def _steps(controller: Controller) -> list[tuple[DeviceLayer, ...]]:
    """Return the layers for each inner step with what it does to them."""
    method = get_method(controller.metadata.method)
    check_adaptable(controller.parameters, controller.network, method, on_device=True)
    steps = [
        device_layers(controller.network, controller.parameters, method, step)
        for step in range(controller.metadata.inner_steps)
    ]
    if not any(layer.updated for layers in steps for layer in layers):
        raise Refusal("the controller adapts no layer, for all its step sizes are zero: export its policy only")
    return steps


def _still(controller: Controller) -> tuple[DeviceLayer, ...]:
    """Return the layers of a policy that does not adapt."""
    step_sizes = torch.zeros(1, len(controller.network.layers))
    parameters = controller.parameters | {STEP_SIZES: step_sizes}
    return device_layers(controller.network, parameters, get_method(controller.metadata.method), 0)


def _channels(steps: Sequence[Sequence[DeviceLayer]], asked: Mapping[str, int]) -> dict[str, int]:
    """Return the input channels that there is room for, of each layer that chooses them."""
    choosing = {layer.name: layer.stated.inputs for layers in steps for layer in layers if layer.chooses_inputs}
    return {name: min(max(asked.get(name, inputs), 1), inputs) for name, inputs in choosing.items()}


def files(made: Generated) -> dict[str, str]:
    """Return the text of each file that the controller needs, by its name."""
    declared, defined = made.tables()
    return {
        f"{made.prefix}_controller.h": made.header(),
        f"{made.prefix}_controller.c": made.source(),
        f"{made.prefix}_tables.h": declared,
        f"{made.prefix}_tables.c": defined,
        **shipped("runtime", RUNTIME),
    }


def extras(made: Generated, episodes: Sequence[Episode] = ()) -> dict[str, str]:
    """Return the text of each file that helps to begin with: a storage, the self-test, a Makefile, a description."""
    sources = [name for name in (*files(made), *EXAMPLE) if name.endswith(".c")]
    return {
        **shipped("runtime", EXAMPLE),
        **selftest(made, episodes),
        "Makefile": makefile(made, [*sources, f"{made.prefix}_selftest.c"]),
        "README.md": readme(made),
    }
