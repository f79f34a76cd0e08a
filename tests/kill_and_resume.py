"""Kills a small training again and again, resumes it each time, and compares what it leaves, byte for byte.

    python tests/kill_and_resume.py --kills 30

prints how many kills hit a running training, how many resumes it took, and whether the files are the same as those of
a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

OUTPUTS = ("progress.csv", "controller.safetensors")
RUN = [
    "--iterations",
    "60",
    "--meta-batch-size",
    "3",
    "--episodes-per-task",
    "4",
    "--horizon",
    "20",
    "--hidden-sizes",
    "8",
    "--threads",
    "2",
]
OFTEN = ["--checkpoint-iterations", "3"]


@dataclass
class Outcome:
    """What became of the runs; ``kills`` counts those that hit a training in progress."""

    kills: int = 0
    resumes: int = 0
    runs: int = 0
    identical: int = 0


def metarl(*words: str) -> subprocess.Popen[bytes]:
    """The command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "metarl.experiments.cli", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {errors.decode()}")


def begin(folder: Path) -> subprocess.Popen[bytes]:
    return metarl("train", "navigation-2d", *RUN, *OFTEN, "--out", str(folder))


def resume(folder: Path) -> subprocess.Popen[bytes]:
    return metarl("train", "--resume", str(folder), *OFTEN)


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in OUTPUTS]


def kill_in_progress(process: subprocess.Popen[bytes], folder: Path, chance: random.Random) -> bool:
    """SIGKILL at a random moment after the log has grown; False if the run was over before."""
    log = folder / OUTPUTS[0]
    before = log.stat().st_size if log.exists() else 0
    while process.poll() is None and (not log.exists() or log.stat().st_size == before):
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.4))
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def disturbed_run(folder: Path, kills: int, chance: random.Random, outcome: Outcome) -> None:
    """One run, killed up to ``kills`` times on its way to the end."""
    process = begin(folder)
    outcome.runs += 1
    for _ in range(kills):
        if not kill_in_progress(process, folder, chance):
            break
        outcome.kills += 1
        process = resume(folder)
        outcome.resumes += 1
    finish(process)


def kill_and_resume(folder: Path, kills: int, seed: int = 0) -> Outcome:
    """Runs until ``kills`` kills have hit, each disturbed run compared with an undisturbed one."""
    chance, outcome = random.Random(seed), Outcome()
    finish(begin(folder / "undisturbed"))
    expected = contents(folder / "undisturbed")
    while outcome.kills < kills:
        run = folder / f"run-{outcome.runs}"
        disturbed_run(run, kills - outcome.kills, chance, outcome)
        outcome.identical += contents(run) == expected
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = kill_and_resume(Path(folder), arguments.kills, arguments.seed)
    print(
        f"{outcome.kills} kills, {outcome.resumes} resumes; "
        f"runs byte-identical to the undisturbed one: {outcome.identical} of {outcome.runs}"
    )
    sys.exit(outcome.identical != outcome.runs)


if __name__ == "__main__":
    main()
