"""``metarl table images``: the paper's image results beside those of metarl, and the trainings that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.experiments.analysis.sweep import Job
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, require_at_least
from metarl.experiments.console.progress import decoding_line, live_progress
from metarl.experiments.paper import filing, image_filing, image_table
from metarl.experiments.paper.image_cells import MAIN, Cell, Scale, cells_named
from metarl.experiments.paper.image_filing import CROSS_DOMAIN, ImageRun, Trial, load_trials
from metarl.experiments.paper.table_making import check_places, check_unfiled, show, train_each
from metarl.images.run import IMAGE_CHECKPOINTS
from metarl.images.training import FAMILY, load_data


@dataclass(frozen=True)
class ImageTableCommand:
    """Show the paper's few-shot image tables beside the filed results: six methods on 4Conv, and the ablations.

    With --train what is missing is trained, tested on unseen tasks, measured and filed, one after another. The same
    command goes on after an interruption; what is finished is not computed again. Results of other scales stay as they
    are, and the table tells them apart.
    """

    scale: Annotated[Scale, tyro.conf.OmitArgPrefixes] = field(default_factory=Scale)
    """How much --train trains and tests."""
    data: Path | None = None
    """Folder of the images that --train trains on; --file tests on its split test, by default where the run trained."""
    cross: Path | None = None
    """Folder of other images, on whose split test the six methods are tested, too."""
    train: bool = False
    """Train what is missing, and make up for missing tests; it takes hours."""
    only: tuple[str, ...] = ()
    """What --train trains, e.g. maml-1shot p-meta-5shot; everything if left out."""
    file: Path | None = None
    """Test and file the run in this folder, finished or interrupted."""
    replace: bool = False
    """Let --file replace a result that is filed already."""
    markdown: Path | None = None
    """Write the tables to this file; only older ones are replaced."""
    out: Path = Path("runs") / "table"
    """Working folder of --train."""
    results: Path | None = None
    """Folder of the filed results; those of the repository, or those that came with metarl, if left out."""
    threads: int = available_threads()
    """Threads of the training and of the tests."""

    def __post_init__(self) -> None:
        require_at_least(1, threads=self.threads)
        cells_named(self.only)
        if self.train and self.data is None:
            raise Refusal("--train needs --data, the folder of the images to train on")


def main(arguments: Sequence[str]) -> None:
    """Runs the command, given the words after ``images``; ValueError says what is wrong, or which trainings failed."""
    command = parse(ImageTableCommand, arguments, "metarl table images")
    results = command.results or filing.default_results()
    writes = command.train or command.file is not None
    check_places(FAMILY, command.markdown, results, command.results is not None, writes)
    console = Terminal()
    failures: list[str] = []
    if command.file:
        test_and_file(command, command.file, command.replace, results, console)
    if command.train and command.data:
        failures = train_missing(command, command.data, results, console)
    found = image_filing.read_image_results(results)
    show(FAMILY, image_table.sheets(found), image_table.caption(found), command.markdown, console)
    if failures:
        raise Refusal("; ".join(failures))


def train_missing(command: ImageTableCommand, data: Path, results: Path, console: Console) -> list[str]:
    """Trains, tests and files what has no result; returns a sentence for each that failed.

    ValueError, before anything is trained, if the images do not do.
    """
    cells = cells_named(command.only)
    missing = [cell for cell in cells if not filing.is_filed(results, FAMILY, cell.name)]
    asked = {cell: command.scale.settings(cell, data.absolute(), command.threads) for cell in missing}
    for cell, settings in {(cell.shots, cell in MAIN): (cell, each) for cell, each in asked.items()}.values():
        load_data(settings, decoding_line(console))
        load_trials(cell, settings, data, command.cross, decoding_line(console))
    if command.cross:
        for cell in [cell for cell in cells if cell in MAIN and cell not in missing]:
            make_up(cell, data, command.cross, results, command.threads, console)
    jobs = [
        Job(command.out / FAMILY / cell.name, FAMILY, settings, IMAGE_CHECKPOINTS) for cell, settings in asked.items()
    ]
    return train_each(jobs, lambda job: test_and_file(command, job.folder, False, results, console), console)


def test_and_file(command: ImageTableCommand, folder: Path, replace: bool, results: Path, console: Console) -> None:
    """Files one run; ValueError if it cannot be, or if there is such a result and it shall not be replaced."""
    run = image_filing.open_image_run(folder, command.scale.test_tasks)
    check_unfiled(results, FAMILY, run.cell.name, replace)
    data = command.data or run.settings.data
    if data.absolute().name != run.settings.data.name:
        raise Refusal(f"{folder} was trained on {run.settings.data.name}, and --data names {data.absolute().name}")
    trials = load_trials(run.cell, run.settings, data, command.cross)
    records = {trial.name: show_trial(run, trial, command.threads, console) for trial in trials}
    image_filing.file_image_run(run, image_filing.result_record(run, records, trials[0]), results)
    console.print(f"{folder} is filed in {results / FAMILY / run.cell.name}", soft_wrap=True)


def make_up(cell: Cell, data: Path, cross: Path, results: Path, threads: int, console: Console) -> None:
    """Tests a filed network on the other images, if that was not done yet."""
    folder = results / FAMILY / cell.name
    result = filing.read_evaluation(folder / filing.EVALUATION, image_filing.parse_result)
    if CROSS_DOMAIN in result.accuracies:
        return
    run = image_filing.open_image_run(folder, result.scale.test_tasks)
    (trial,) = (trial for trial in load_trials(cell, run.settings, data, cross) if trial.name == CROSS_DOMAIN)
    image_filing.add_trial(folder, CROSS_DOMAIN, show_trial(run, trial, threads, console))


def show_trial(run: ImageRun, trial: Trial, threads: int, console: Console) -> dict[str, Any]:
    """Runs a trial with a progress line."""
    with live_progress(console, run.scale.test_tasks, f"unseen tasks, {run.cell.name} {trial.name}") as show_progress:
        return image_filing.run_trial(run, trial, threads, lambda done: show_progress(done, ""))
