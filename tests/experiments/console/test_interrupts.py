"""Ctrl-C and SIGTERM, in this process and in a training of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import FAMILY

from metarl.experiments.console.interrupts import Interrupted, interruptible
from metarl.policies.loading import load_controller

ROOT = Path(__file__).resolve().parents[3]


def test_the_first_signal_waits_for_the_check() -> None:
    with interruptible() as check:
        check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted) as caught:
            check()
        assert caught.value.number == signal.SIGINT


def test_the_second_signal_stops_at_once_and_the_third_lets_the_saving_finish() -> None:
    with interruptible() as check:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        check()


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_leaves_its_controller(tmp_path: Path, number: int, code: int) -> None:
    folder = tmp_path / "run"
    words = f"train {FAMILY} --iterations 100000 --meta-batch-size 2 --episodes-per-task 2 --horizon 5 --threads 1"
    process = subprocess.Popen(
        [sys.executable, "-m", "metarl.experiments.cli", *words.split(), "--out", str(folder)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        progress = folder / "progress.csv"
        while not (progress.exists() and progress.read_text().count("\n") > 2):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        err = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == code
    assert f"is in {folder / 'controller.safetensors'}" in err and "Traceback" not in err
    done = progress.read_text().count("\n") - 1
    assert f"the best controller of {done} meta-iterations" in err
    assert load_controller(folder / "controller.safetensors").metadata.training["iterations"] == done
    assert (folder / "learning_curve.png").exists()
