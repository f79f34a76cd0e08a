"""The command ``metarl``: finds the command's module, and turns what goes wrong into a sentence and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from metarl.core.version import __version__
from metarl.experiments.console.interrupts import Interrupted

# Each is a module of metarl.experiments.commands with a function main(arguments). It is imported when it is called
# for, because torch, mujoco and matplotlib take a while.
COMMANDS = {
    "train": "Meta-train a policy on a task family.",
    "evaluate": "Adapt a controller to many unseen tasks and report the returns.",
    "adapt": "Adapt a controller to one task and write the adapted controller.",
    "inspect": "Tell what a controller is: layers, step sizes, kept channels, cost.",
    "cost": "Tell the memory and operations of a controller on a device.",
    "render": "Make a GIF of one episode.",
    "sweep": "Meta-train with several methods and seeds.",
    "report": "Write one HTML page about one or several runs.",
    "table": "Show the paper's results beside those of metarl, and train what is missing.",
    "bench": "Measure the speed of sampling and of a meta-iteration.",
    "data": "Build a few-shot image data set from drawings.",
    "demo": "Meta-train on 2D navigation, adapt a HalfCheetah, in about two minutes.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 2 for bad input, 130 or 143 after an interruption."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            run(words)
    except BrokenPipeError:
        # Whoever read the output has left, e.g. head. Python flushes what remains as it exits: to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"metarl: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(f"metarl: {interrupted}", file=sys.stderr)
        return 128 + interrupted.number
    except KeyboardInterrupt:
        print("metarl: interrupted", file=sys.stderr)
        return 130
    return 0


def run(words: list[str]) -> None:
    """Hands the words after the command to its module."""
    if not words or words[0] in ("-h", "--help"):
        print(usage())
    elif words[0] == "--version":
        print(f"metarl {__version__}")
    elif words[0] not in COMMANDS:
        raise ValueError(f"unknown command '{words[0]}': choose one of {', '.join(COMMANDS)}")
    else:
        import_module(f"metarl.experiments.commands.{words[0]}").main(words[1:])


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning is a sentence for the user: no line of code."""
    print(f"metarl: warning: {message}", file=sys.stderr)


def usage() -> str:
    """What ``metarl --help`` prints."""
    commands = "\n".join(f"  {name:10}{summary}" for name, summary in COMMANDS.items())
    return (
        "usage: metarl COMMAND [OPTIONS]\n\n"
        "Meta-train a controller, then adapt it to an unseen task in a few episodes.\n\n"
        f"commands:\n{commands}\n\n"
        "metarl COMMAND --help tells the options of a command."
    )


if __name__ == "__main__":
    sys.exit(main())
