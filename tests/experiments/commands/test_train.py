"""What ``metarl train`` shows of a training."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest
from command_line import FAMILY, fails, succeeds
from command_line import TINY as COMMAND_LINE_TINY
from point_family import TINY, PointSimulator, point_family

import metarl
from metarl.experiments.analysis.training_views import ImageView, PolicyView
from metarl.images.settings import ImageSettings
from metarl.rl.training import PolicyTraining
from metarl.runs.state import Step, TrainingState

STATE = TrainingState(
    iteration=3, parameters={}, moments={}, best_parameters={}, best_score=-1.0, best_iteration=2, skipped=2
)
POLICY = PolicyView(PolicyTraining(point_family(), TINY))
IMAGES = ImageView(SimpleNamespace(settings=ImageSettings(Path("letters"), tasks_per_epoch=4)))


def test_the_line_of_an_iteration() -> None:
    scalars = {"return_0": -281.26, "return_0_ci95": 1.0, "return_1": -150.04, "kl": 0.00812}
    line = POLICY.line(Step(STATE, scalars, {"env_steps_per_second": 320_123.0}))
    assert line == "return -281.3 → -150.0  KL 0.0081  320k steps/s  2 skipped"


def test_the_line_of_an_iteration_on_images() -> None:
    scalars = {"accuracy_before": 0.21, "accuracy_after": 0.5, "loss_after": 1.234}
    step = Step(STATE, scalars, {"meta_gradient_seconds": 2.34})
    assert IMAGES.line(step) == "accuracy 21% → 50%  loss 1.23  2.3 s/iteration"
    IMAGES.line(Step(STATE, scalars | {"validation_accuracy": 0.432}, {"meta_gradient_seconds": 2.34}))
    assert IMAGES.line(step) == "accuracy 21% → 50%  loss 1.23  2.3 s/iteration  validation 43.2%"


def test_an_iteration_that_was_skipped_says_why() -> None:
    step = Step(STATE, {}, {}, "the rewards are not finite")
    assert POLICY.line(step) == "skipped: the rewards are not finite; 2 skipped so far"
    assert IMAGES.line(step).startswith(POLICY.line(step))


ROOMS = tuple(str(Path(metarl.__file__).parents[1] / room) for room in ("metarl", "experiments", "policies", "envs"))


def frames(thread: int) -> list[str]:
    """The functions of metarl that a thread is in, innermost first."""
    frame: FrameType | None = sys._current_frames()[thread]
    found = []
    while frame is not None:
        # Python 3.12 has no frames of comprehensions any more.
        if frame.f_code.co_filename.startswith(ROOMS) and frame.f_code.co_name != "<listcomp>":
            found.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return found


def test_the_way_from_the_shell_to_the_simulator_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fourteen calls at most, from the command to a step of the simulator, which runs in the sampler's own thread.

    Two of them are the worker that holds the tasks, and its course, which stops where it needs other workers' tasks.
    """
    seen: list[list[str]] = []

    class Watched(PointSimulator):
        def step(self, actions):
            if not seen:
                here, main_thread = threading.get_ident(), threading.main_thread().ident
                seen.append(["Watched.step", *frames(here), *frames(main_thread)])
            return super().step(actions)

    family = point_family(make_simulator=lambda threads: Watched())
    monkeypatch.setitem(sys.modules, "watched", SimpleNamespace(family=family))
    succeeds("train", "watched:family", *COMMAND_LINE_TINY, "--out", tmp_path / "run")
    assert seen[0][-1] == "main" and "meta_iteration" in seen[0]
    assert len(seen[0]) <= 14, seen[0]


def test_a_training_starts_from_a_controller(tmp_path: Path) -> None:
    words = ("train", FAMILY, *COMMAND_LINE_TINY, "--method", "maml++")
    succeeds(*words, "--out", tmp_path / "first")
    succeeds(*words, "--out", tmp_path / "second", "--init", tmp_path / "first")
    assert "hidden sizes (4,), and the settings ask for (5,)" in fails(
        *words, "--hidden-sizes", 5, "--out", tmp_path / "third", "--init", tmp_path / "first"
    )
    assert "there is no" in fails(*words, "--out", tmp_path / "third", "--init", tmp_path / "nowhere")
    assert not (tmp_path / "third").exists()


def test_more_iterations_for_a_finished_run(tmp_path: Path) -> None:
    succeeds("train", FAMILY, *COMMAND_LINE_TINY, "--out", tmp_path / "run")
    assert "3/3 meta-iterations" in succeeds("train", "--resume", tmp_path / "run", "--iterations", 3)
    assert (tmp_path / "run" / "progress.csv").read_text().count("\n") == 1 + 3
    assert "has done 3 iterations, more than the 2" in fails("train", "--resume", tmp_path / "run", "--iterations", 2)
    assert "--data is for runs on images" in fails("train", "--resume", tmp_path / "run", "--data", tmp_path)
