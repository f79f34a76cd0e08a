"""What a measurement of speed was made on."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from metarl.core.text import plural
from metarl.core.threads import available_threads
from metarl.core.version import __version__

CPUS = Path("/proc/cpuinfo")


def machine() -> dict[str, str | int]:
    """Return the kind of processor, the cores that this process may use, and the versions that decide about speed."""
    versions = {name: version(name) for name in ("torch", "mujoco", "numpy")}
    return {"processor": processor(), "cores": available_threads(), "metarl": __version__, **versions}


def processor(cpus: Path = CPUS) -> str:
    """Return the processor's name as Linux tells it, or else what Python knows of it."""
    lines = cpus.read_text().splitlines() if cpus.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine_text(told: dict[str, str | int]) -> str:
    """Return a line: ``On AMD EPYC, 2 cores, with metarl 0.1.0, torch 2.13.0, mujoco 4.0.0, numpy 2.4.6.``"""
    versions = ", ".join(f"{name} {number}" for name, number in told.items() if name not in ("processor", "cores"))
    return f"On {told['processor']}, {plural(int(told['cores']), 'core')}, with {versions}."
