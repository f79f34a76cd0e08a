"""Lets every test import the modules that tests share, such as ``tests/small_problems.py``."""

import signal
import sys
from pathlib import Path

# First of all: with tests/ on the path, Python could take the folder tests/metarl for the package.
from hypothesis import settings

import metarl  # noqa: F401

# Whoever started the tests in the background may have told them to ignore these, which some of them send to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A busy machine is no error of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

sys.path.append(str(Path(__file__).parent))
