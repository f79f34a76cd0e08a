"""The command ``metarl``: find the command's module, and turn what goes wrong into a sentence and an exit code."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from traceback import walk_tb

from metarl.core.distribution import install_command
from metarl.core.errors import NumericalFault, Refusal
from metarl.core.version import __version__
from metarl.experiments.console.interrupts import Interrupted
from metarl.experiments.console.output import discard, has_reader, tell, write_anything

# Each is a module of metarl.experiments.commands with a function main(arguments). It is imported when it is called
# for, because torch, mujoco and matplotlib take a while.
COMMANDS = {
    "train": "Meta-train a policy on a task family.",
    "evaluate": "Adapt a controller to many unseen tasks and report the returns.",
    "adapt": "Adapt a controller to one task and write the adapted controller.",
    "check": "Test a task family of your own before you train on it.",
    "inspect": "Tell what a controller is: layers, step sizes, kept channels, cost.",
    "card": "Write the model card of a policy: training, returns, memory, intended use.",
    "zoo": "Show the controllers that ship, and publish controllers as model repositories.",
    "cost": "Tell the memory and operations of a controller on a device.",
    "compress": "Prune, nest or round a controller so that it still adapts, and judge it.",
    "update": "Make and apply patches for controllers that robots have already.",
    "federate": "Train on clients that hold integers and return gradients, here or over gRPC.",
    "export": "Write a policy as C for a microcontroller, or as ONNX.",
    "render": "Make a GIF of one episode.",
    "sweep": "Meta-train with several methods and seeds.",
    "tune": "Search for the settings that suit a task family.",
    "report": "Write one HTML page about one or several runs.",
    "table": "Show the paper's results beside those of metarl, and train what is missing.",
    "bench": "Measure the speed of sampling and of a meta-iteration.",
    "data": "Build a few-shot image data set from drawings, npz archives or CUB-200-2011.",
    "demo": "Meta-train on 2D navigation, adapt a HalfCheetah, in about two minutes.",
}

# The commands whose first word chooses a kind with options of its own.
SUBCOMMANDS = {
    "train": ("images",),
    "compress": ("prune", "nest", "int8", "bases", "judge"),
    "update": ("make", "apply", "info", "simulate", "stream"),
    "federate": ("images", "join"),
    "zoo": ("list", "show", "export", "push"),
    "table": ("images", "families", "tradeoff", "pruning", "fleet"),
}

# Packages that some commands need, and the extra that installs them.
EXTRAS = {"jinja2": "report", "matplotlib": "report", "PIL": "report", "optuna": "tune", "huggingface_hub": "zoo"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 2 for bad input, 130 or 143 after an interruption.

    An error that is not metarl's own, e.g. of the user's environment, comes out with its traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    write_anything()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            try:
                run(words)
                code = 0
            except SystemExit as stop:  # the parser has printed its help or what is wrong with the words
                code = int(stop.code or 0)
            print(end="", flush=True)
            return code
    except BrokenPipeError:
        if has_reader(sys.stdout):
            raise
        discard(sys.stdout)
        return 128 + signal.SIGPIPE
    except (Refusal, NumericalFault) as error:
        tell(str(error))
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        tell(f"{package} is not installed: {install_command(EXTRAS[package])}")
        return 2
    except MemoryError as error:
        tell(f"there is not enough memory: {error}" if str(error) else "there is not enough memory")
        return 2
    except OSError as error:
        if not raised_by_metarl(error):
            raise
        tell(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 2
    except Interrupted as interrupted:
        tell(str(interrupted))
        return 128 + interrupted.number
    except KeyboardInterrupt:
        tell("interrupted")
        return 130


def run(words: list[str]) -> None:
    """Hand the words after the command to its module."""
    if not words or words[0] in ("-h", "--help"):
        print(usage())
    elif words[0] == "--version":
        print(f"metarl {__version__}")
    elif words[0] == "--print-completion":
        print_completion(words[1:])
    elif words[0] not in COMMANDS:
        meant = get_close_matches(words[0], COMMANDS, 1)
        perhaps = f"did you mean '{meant[0]}'? " if meant else ""
        raise Refusal(f"unknown command '{words[0]}': {perhaps}choose one of {', '.join(COMMANDS)}")
    else:
        import_module(f"metarl.experiments.commands.{words[0]}").main(words[1:])


def print_completion(words: Sequence[str]) -> None:
    """Print a shell's script that completes commands and options; it knows them when it is made."""
    from metarl.experiments.console.completion import SHELLS, completion_script

    if len(words) != 1 or words[0] not in SHELLS:
        raise Refusal(f"--print-completion takes one of {', '.join(SHELLS)}, got '{' '.join(words)}'")
    modules = {name: import_module(f"metarl.experiments.commands.{name}") for name in COMMANDS}
    print(completion_script({name: getattr(module, name.capitalize()) for name, module in modules.items()}, words[0]))


def raised_by_metarl(error: Exception) -> bool:
    """Return whether metarl raised the error: itself, by a call of the standard library, or as rich was printing."""
    names = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    others = [name for name in names if name not in sys.stdlib_module_names]
    return bool(others) and others[-1] in ("metarl", "rich")


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning as a sentence for the user, without a line of code."""
    tell(f"warning: {message}")


def usage() -> str:
    """Return what ``metarl --help`` prints."""
    commands = "\n".join(f"  {name:10}{summary}" for name, summary in COMMANDS.items())
    return (
        "usage: metarl COMMAND [OPTIONS]\n\n"
        "Meta-train a controller, then adapt it to an unseen task in a few episodes.\n\n"
        f"commands:\n{commands}\n\n"
        "metarl COMMAND --help shows the options of a command.\n"
        "metarl --print-completion bash (or zsh, fish) prints a script that completes them."
    )


if __name__ == "__main__":
    sys.exit(main())
