"""C text: numbers, tables, names and comments that a compiler reads as they are meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.core.errors import Refusal

TYPES = {
    "float32": "float",
    "float64": "double",
    "int16": "int16_t",
    "uint8": "uint8_t",
    "uint16": "uint16_t",
    "uint32": "uint32_t",
}
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_KEYWORDS = frozenset(  # of C and C++
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr
    continue decltype default delete do double else enum explicit export extern false float for friend goto if
    inline int long main mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
    public register restrict return short signed sizeof static struct switch template this throw true try typedef
    typeid typename union unsigned using virtual void volatile while xor xor_eq
    """.split()  # noqa: SIM905
)


def number(value: float) -> str:
    """Return a float literal that reads back as the same float32, also negative zero, subnormals and infinities."""
    value = float(np.float32(value))
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = f"{value:.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def double(value: float) -> str:
    """Return a double literal that reads back as the same number."""
    text = repr(float(value))
    return text if "." in text or "e" in text else f"{text}.0"


def table(name: str, values: NDArray[Any]) -> str:
    """Return the definition of a constant array of float32, uint8 or uint16."""
    written = number if values.dtype == np.float32 else str
    numbers = [written(value) for value in values.reshape(-1).tolist()]
    lines = (", ".join(numbers[start : start + 8]) for start in range(0, len(numbers), 8))
    return f"const {TYPES[values.dtype.name]} {name}[{values.size}] = {{\n{rows(lines)}}};\n"


def rows(values: Iterable[str], indent: str = "    ") -> str:
    """Return the entries of an initializer, one a line."""
    return ",\n".join(f"{indent}{value}" for value in values)


def identifier(name: str) -> str:
    """Return the C name of a buffer or stage: ``layer1_output`` for ``layer1.output``."""
    return re.sub(r"[^A-Za-z0-9]", "_", name)


def check_prefix(prefix: str) -> str:
    """Return a prefix for the names of a controller, if it is one.

    Raises:
        Refusal: If it is no C identifier, a keyword of C or C++, or a name of the runtime.
    """
    if not IDENTIFIER.fullmatch(prefix) or prefix in _KEYWORDS or prefix.lower() == "metarl":
        raise Refusal(
            f"the prefix must be a C identifier of 1 to 31 letters, digits and underscores that begins with a letter, "
            f"no keyword of C or C++ and not metarl, got '{prefix}'"
        )
    return prefix


def safe(text: str) -> str:
    """Return a text of a stranger's file as it may stand in a comment or a string: other characters become ``?``."""
    return re.sub(r"[^A-Za-z0-9_.:/ ,()\[\]+-]", "?", text)


def filled(name: str, **values: object) -> str:
    """Return the text of a file in ``templates`` with its ``$names`` filled in."""
    template = Template((resources.files("metarl.policies.export") / "templates" / name).read_text())
    return template.substitute(values)


def shipped(folder: str, names: Iterable[str]) -> dict[str, str]:
    """Return the text of files that are the same for all controllers, by their names."""
    return {name: (resources.files("metarl.policies.export") / folder / name).read_text() for name in names}
