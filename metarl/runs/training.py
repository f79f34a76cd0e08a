"""The interface of what a run trains: ``PolicyTraining`` or ``ImageTraining``."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from metarl.runs.state import Step, TrainingState


class Settings(Protocol):
    """The dataclass of a training's settings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def iterations(self) -> int:
        """Meta-iterations of the whole training."""
        ...


class Training(Protocol):
    """A meta-training, as the driver and a run folder see it."""

    @property
    def family_name(self) -> str:
        """The name of what is trained on."""
        ...

    @property
    def settings(self) -> Settings:
        """Everything that the training depends on."""
        ...

    @property
    def trained_on(self) -> Mapping[str, Any]:
        """What the numbers depend on beside the settings, in the types of JSON: it must be the same on resume."""
        ...

    @property
    def columns(self) -> Mapping[str, list[str]]:
        """The columns of each log, by the file's name."""
        ...

    def initial_state(self) -> TrainingState:
        """Return the state before the first iteration."""
        ...

    def iterations(self, state: TrainingState, on_phase: Callable[[], None]) -> Generator[Step, None, None]:
        """Train from ``state`` to the last iteration and yield after each; ``on_phase`` may raise to stop."""
        ...

    def save(self, state: TrainingState, path: Path) -> None:
        """Write the best so far to a file; an older one is replaced."""
        ...
