"""The meta-trainings behind the paper's image tables on 4Conv, 5-way: Table 2, and the ablations with 1 shot."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ConfigDict, with_config

from metarl.core.errors import Refusal
from metarl.experiments.paper.published import TABLE_2, TABLE_4, TABLE_5, TABLE_6, TABLE_7
from metarl.images.settings import METHOD_PRESETS, ImageSettings
from metarl.policies.methods import METHODS
from metarl.policies.networks.kinds import Norm
from metarl.policies.networks.layers import Pooling

BACKBONE = "conv4"


@dataclass(frozen=True)
class Cell:
    """What tells one meta-training of the tables from the others."""

    method: str
    shots: int = 1
    norm: Norm = "group"
    pooling: Pooling = "max"

    @property
    def name(self) -> str:
        """The name of its folder: METHOD-SHOTSshot, and NORM-POOLING where they differ from the other tables'."""
        usual = (self.norm, self.pooling) == ("group", "max")
        return f"{self.method}-{self.shots}shot" + ("" if usual else f"-{self.norm}-{self.pooling}")


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True)
class Scale:
    """How much is trained and tested, and at which size of the images; all other settings are the paper's."""

    side: int = 32
    """Width and height that images are brought to."""
    epochs: int = 10
    """Epochs of a training."""
    tasks_per_epoch: int = 1000
    """Tasks in an epoch, a multiple of 4."""
    validation_tasks: int = 300
    """Tasks of the validation after each epoch."""
    test_tasks: int = 5000
    """Unseen tasks that the trained network is tested on, at least 2."""
    seed: int = 0
    """Seed of the trainings; that of the test tasks is the next one."""

    def __post_init__(self) -> None:
        if self.test_tasks < 2:
            raise Refusal(f"--test-tasks must be at least 2, got {self.test_tasks}")

    def settings(self, cell: Cell, data: Path, threads: int) -> ImageSettings:
        """Return the settings of a cell's training; raise Refusal saying what is impossible."""
        return ImageSettings(
            data=data,
            backbone=BACKBONE,
            method=cell.method,
            shots=cell.shots,
            norm=cell.norm,
            pooling=cell.pooling,
            side=self.side,
            epochs=self.epochs,
            tasks_per_epoch=self.tasks_per_epoch,
            validation_tasks=self.validation_tasks,
            seed=self.seed,
            threads=threads,
            **METHOD_PRESETS.get(cell.method, {}),
        )


# All methods are tested as those of Table 2 are; the paper lacks some.
MAIN = tuple(Cell(method, shots) for shots in TABLE_2[BACKBONE] for method in METHODS)
_OTHERS = (
    *(Cell(method) for method in {**TABLE_4[1], **TABLE_7[1]}),
    *(Cell("maml", 1, norm, pooling) for pooling, norms in TABLE_5.items() for norm in norms),
)
ABLATIONS = tuple(cell for cell in _OTHERS if cell not in MAIN)
CELLS = {cell.name: cell for cell in (*MAIN, *ABLATIONS)}
# The cell of Table 6, whose network is tested with several numbers of images at once; 1 is what all others have.
BATCH_CELL = Cell("p-meta")
BATCHES = tuple(size for size in TABLE_6[1] if size != 1)


def cells_named(names: tuple[str, ...]) -> list[Cell]:
    """Return the cells of these names, or all for no name; raise Refusal for a name that there is not."""
    for name in names:
        if name not in CELLS:
            raise Refusal(f"the table has no '{name}': --only takes {', '.join(CELLS)}")
    return [CELLS[name] for name in dict.fromkeys(names or CELLS)]


def place_of(settings: ImageSettings, test_tasks: int) -> tuple[Cell, Scale]:
    """Return the place of a training in the tables; raise Refusal saying what keeps it out of them."""
    cell = Cell(settings.method, settings.shots, settings.norm, settings.pooling)
    if cell.name not in CELLS:
        raise Refusal(f"the table has no {cell.name}, only {', '.join(CELLS)}")
    scale = Scale(
        side=settings.side,
        epochs=settings.epochs,
        tasks_per_epoch=settings.tasks_per_epoch,
        validation_tasks=settings.validation_tasks,
        test_tasks=test_tasks,
        seed=settings.seed,
    )
    usual = asdict(scale.settings(cell, settings.data, settings.threads))
    for name, value in asdict(settings).items():
        if value != usual[name]:
            raise Refusal(f"the table's trainings have {name} {usual[name]}, and this one has {value}")
    return cell, scale
