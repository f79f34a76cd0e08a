"""``metarl update stream``: a classifier whose data arrive in rounds, updated by patches of several kinds."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from metarl.core.errors import Refusal
from metarl.core.threads import single_threaded_torch
from metarl.experiments.analysis.fleet_stream import stream_record
from metarl.experiments.analysis.records import write_record
from metarl.experiments.commands.update_options import COMPARED, Strategies, require_strategies
from metarl.experiments.console.constructors import Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse
from metarl.fleet.simulation import Strategy
from metarl.fleet.stream import StreamRound, StreamSettings, checked, seeded, stream
from metarl.fleet.supervised import Examples

HELD_OUT = 1 / 3  # of an archive that has no images for testing


@dataclass(frozen=True)
class Stream:
    """Update a classifier in rounds as its data arrive, and tell what each strategy reaches for the bytes it sends.

    The archive has arrays images and labels, or train_images, train_labels and perhaps test_images, test_labels. Of one
    without images for testing a third is held out.
    """

    archive: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ARCHIVE")]
    """The .npz archive."""
    strategies: Strategies = COMPARED
    """Ways of updating: combined, global, local, random, full, pruning."""
    settings: Annotated[StreamSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=StreamSettings)
    json: Maybe[Path] = None
    """Write the rounds of all strategies to this file, which must be new."""

    def __post_init__(self) -> None:
        require_strategies(self.strategies)


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments or the archive."""
    command, console = parse(Stream, arguments, "metarl update stream"), Terminal()
    if command.json:
        check_new_file(command.json)
    training, held_out = read_archive(command.archive, command.settings.seed)
    rounds: dict[Strategy, list[StreamRound]] = {}
    with single_threaded_torch():
        for strategy in command.strategies:
            console.print(f"{strategy}:")
            rounds[strategy] = stream(
                training,
                held_out,
                strategy,
                command.settings,
                on_round=lambda done: console.print(told(done), soft_wrap=True),
            )
    if command.json:
        write_record(command.json, stream_record(command.archive.stem, asdict(command.settings), rounds))


def told(done: StreamRound) -> str:
    """Return a round in words."""
    what = f"{done.patch_bytes:,} bytes sent" if done.sent else "nothing sent"
    anew = ", started anew" if done.restarted else ""
    two = ", two networks on the device" if done.slots == 2 else ""
    return f"round {done.number}: {done.images} images{anew}, {what}{two}; accuracy {100 * done.accuracy:.1f} %"


def read_archive(path: Path, seed: int) -> tuple[Examples, Examples]:
    """Return the images to train on and those that are held out; raise Refusal if the archive cannot be used."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise Refusal(f"{path} is no .npz archive of images: {error}") from None
    prefix = "train_" if "train_images" in arrays else ""
    examples = examples_of(arrays, prefix, path)
    if "test_images" in arrays:
        return examples, examples_of(arrays, "test_", path)
    order = torch.randperm(len(examples.labels), generator=seeded(seed, 0))
    cut = round(HELD_OUT * len(order))
    return examples.chosen(order[cut:]), examples.chosen(order[:cut])


def examples_of(arrays: dict[str, np.ndarray], prefix: str, path: Path) -> Examples:
    """Return one part of an archive's images."""
    names = f"{prefix}images", f"{prefix}labels"
    if not all(name in arrays for name in names):
        raise Refusal(f"{path} has no arrays {' and '.join(names)}: it has {', '.join(sorted(arrays)) or 'none'}")
    images, labels = (arrays[name] for name in names)
    if images.dtype != np.uint8 or labels.dtype.kind not in "iu":
        raise Refusal(f"{path}: images must be uint8 and labels whole numbers, got {images.dtype} and {labels.dtype}")
    return checked(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))
