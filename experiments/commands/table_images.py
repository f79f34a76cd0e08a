"""``metarl table images``: the paper's image results beside those of metarl, and the trainings that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from metarl.core.errors import Refusal
from metarl.experiments.analysis.sweep import Job
from metarl.experiments.console.constructors import Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse
from metarl.experiments.console.progress import decoding_line
from metarl.experiments.paper import image_filing, image_table
from metarl.experiments.paper.cells import MAIN, Cell, Scale, cells_named
from metarl.experiments.paper.filing import Filing, check_places, show, train_each
from metarl.experiments.paper.image_filing import CROSS_DOMAIN, ImageRun, Test, load_tests, open_image_run
from metarl.experiments.paper.results import ImageResult, Trial, check_unfiled, is_filed, read_result
from metarl.images.run import IMAGE_CHECKPOINTS
from metarl.images.start import load_data
from metarl.images.training import FAMILY
from metarl.runs.progress import live_progress


@dataclass(frozen=True)
class TableImages:
    """Show the paper's tables of few-shot images on 4Conv beside our filed results.

    With --train what is missing is trained, tested on unseen tasks and filed.

    The same command goes on after an interruption, and computes nothing twice.

    Results of other scales stay as they are; the tables tell them apart by a letter.
    """

    scale: Annotated[Scale, tyro.conf.OmitArgPrefixes] = field(default_factory=Scale)
    """How much --train trains and tests."""
    filing: Annotated[Filing, tyro.conf.OmitArgPrefixes] = field(default_factory=Filing)
    """What to do beside showing the tables."""
    data: Maybe[Path] = None
    """Folder of the images that --train trains on; --file tests on its split test, by default where the run trained."""
    cross: Maybe[Path] = None
    """Folder of other images, on whose split test all methods are tested, too."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]", help_behavior_hint="")] = ()
    """What --train trains, e.g. maml-1shot p-meta-5shot; everything if left out."""

    def __post_init__(self) -> None:
        cells_named(self.only)
        if self.filing.train and self.data is None:
            raise Refusal("--train needs --data, the folder of the images to train on")


def main(arguments: Sequence[str]) -> None:
    """Run the command, given the words after ``images``; raise Refusal saying what is wrong, or what failed."""
    command = parse(TableImages, arguments, "metarl table images")
    filing, console = command.filing, Terminal()
    check_places(FAMILY, filing)
    if filing.file:
        test_and_file(command, filing.file, filing.replace, console)
    failures = train_missing(command, command.data, console) if filing.train and command.data else []
    found = image_table.read_image_results(filing.results_folder)
    show(FAMILY, image_table.sheets(found), image_table.caption(found), filing.markdown, console)
    if failures:
        raise Refusal("; ".join(failures))


def train_missing(command: TableImages, data: Path, console: Console) -> list[str]:
    """Train, test and file what has no result; return a sentence for each that failed.

    Raise Refusal, before anything is trained, if the images are not sufficient.
    """
    filing = command.filing
    cells = cells_named(command.only)
    missing = [cell for cell in cells if not is_filed(filing.results_folder, FAMILY, cell.name)]
    asked = {cell: command.scale.settings(cell, data.absolute(), filing.threads) for cell in missing}
    for cell, settings in {(cell.shots, cell in MAIN): (cell, each) for cell, each in asked.items()}.values():
        load_data(settings, decoding_line(console))
        load_tests(cell, settings, data, command.cross, decoding_line(console))
    if command.cross:
        for cell in [cell for cell in cells if cell in MAIN and cell not in missing]:
            make_up(cell, data, command.cross, filing, console)
    jobs = [
        Job(filing.out / FAMILY / cell.name, FAMILY, settings, IMAGE_CHECKPOINTS) for cell, settings in asked.items()
    ]
    return train_each(jobs, lambda job: test_and_file(command, job.folder, False, console), console)


def test_and_file(command: TableImages, folder: Path, replace: bool, console: Console) -> None:
    """Test one run and file it.

    Args:
        command: The command, with the images to test on.
        folder: Folder of the run.
        replace: Whether a result that is filed already may be replaced.
        console: Where to show the progress.
    """
    run, results = open_image_run(folder, command.scale.test_tasks), command.filing.results_folder
    check_unfiled(results, FAMILY, run.cell.name, replace)
    data = command.data or run.settings.data
    if data.absolute().name != run.settings.data.name:
        raise Refusal(f"{folder} was trained on {run.settings.data.name}, and --data names {data.absolute().name}")
    tests = load_tests(run.cell, run.settings, data, command.cross)
    trials = {test.name: show_test(run, test, command.filing.threads, console) for test in tests}
    image_filing.file_image_run(run, image_filing.result_of(run, trials, tests[0]), results)
    console.print(f"{folder} is filed in {results / FAMILY / run.cell.name}", soft_wrap=True)


def make_up(cell: Cell, data: Path, cross: Path, filing: Filing, console: Console) -> None:
    """Test a filed network on the other images, if that was not done yet.

    Args:
        cell: The network's cell of the tables.
        data: Folder of the images that it was trained on.
        cross: Folder of the other images.
        filing: Options of the command.
        console: Where to show the progress.
    """
    folder = filing.results_folder / FAMILY / cell.name
    result = read_result(folder, ImageResult)
    if CROSS_DOMAIN in result.trials:
        return
    run = open_image_run(folder, result.scale.test_tasks)
    (test,) = (test for test in load_tests(cell, run.settings, data, cross) if test.name == CROSS_DOMAIN)
    image_filing.add_trial(folder, CROSS_DOMAIN, show_test(run, test, filing.threads, console))


def show_test(run: ImageRun, test: Test, threads: int, console: Console) -> Trial:
    """Run a test with a progress line.

    Args:
        run: A filed training.
        test: The kind of tasks.
        threads: The threads of the adaptation.
        console: Where the line is shown.

    Returns:
        The accuracies.
    """
    with live_progress(console, run.scale.test_tasks, f"unseen tasks, {run.cell.name} {test.name}") as show_progress:
        return image_filing.run_test(run, test, threads, lambda done: show_progress(done, ""))
