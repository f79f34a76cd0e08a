"""Lets every test import the modules that tests share, such as ``tests/small_problems.py``."""

import sys
from pathlib import Path

# First of all: with tests/ on the path, Python could take the folder tests/metarl for the package.
from hypothesis import settings

import metarl  # noqa: F401

# A busy machine is no error of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

sys.path.append(str(Path(__file__).parent))
