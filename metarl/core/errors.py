"""What metarl itself refuses, apart from errors of the code that it calls."""

from __future__ import annotations


class Refusal(ValueError):
    """An input that cannot be used; the message is one sentence that says what is wrong and what is allowed.

    Every check of metarl raises it. The command line prints its sentence and ends with exit code 2, whereas a plain
    ValueError or OSError, which may come from the user's environment, keeps its traceback.
    """


class NumericalFault(FloatingPointError):
    """A number that is not finite, found by metarl in observations, rewards, gradients or parameters."""
