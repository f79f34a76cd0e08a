"""From SVG drawings to PNG files, on all cores."""

from __future__ import annotations

import hashlib
import io
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from multiprocessing import get_context

from PIL import Image

from metarl.core.distribution import install_command
from metarl.core.errors import Refusal

BLOCK = 64


def render(svg: str) -> tuple[bytes, str]:
    """Return an SVG document on white as RGB PNG, and a digest of its pixels; raise ValueError if it is no drawing."""
    import resvg_py

    # Fonts of the machine would make the images depend on it.
    rendered = resvg_py.svg_to_bytes(svg_string=svg, background="#ffffff", skip_system_fonts=True)
    image = Image.open(io.BytesIO(rendered)).convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue(), digest(image)


def render_all(svgs: Sequence[str], processes: int) -> Generator[list[tuple[bytes, str]], None, None]:
    """Yield what ``render`` returns for each document, in blocks.

    Processes render, not threads, because the renderer holds the interpreter's lock. Raise ValueError if the renderer
    is not installed, ChildProcessError if one of the processes was ended from outside.
    """
    if find_spec("resvg_py") is None:
        raise Refusal(f"resvg-py, which renders the drawings, is not installed: {install_command('images')}")
    blocks = [svgs[start : start + BLOCK] for start in range(0, len(svgs), BLOCK)]
    # Forking a process that has threads can hang it.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=leave_interrupts) as pool:
        try:
            yield from pool.map(render_block, blocks)
        except BrokenProcessPool:
            raise ChildProcessError("a process that renders drawings was ended") from None
        finally:
            pool.shutdown(cancel_futures=True)


def leave_interrupts() -> None:
    """Ignore Ctrl-C, which reaches all processes of a terminal, because the first process handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def render_block(svgs: Sequence[str]) -> list[tuple[bytes, str]]:
    """Return what ``render`` returns for each document."""
    return [render(svg) for svg in svgs]


def digest(image: Image.Image) -> str:
    """Return a text that differs for images of the same size with other pixels."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def blank(side: int) -> str:
    """Return the digest of an image on which nothing is drawn."""
    return digest(Image.new("RGB", (side, side), "white"))
