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

from metarl.core.errors import Refusal

BLOCK = 64


def render(svg: str) -> tuple[bytes, str]:
    """An SVG document on white as RGB PNG, and a digest of its pixels. ValueError if it is no drawing."""
    import resvg_py

    # Fonts of the machine would make the images depend on it.
    rendered = resvg_py.svg_to_bytes(svg_string=svg, background="#ffffff", skip_system_fonts=True)
    image = Image.open(io.BytesIO(rendered)).convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue(), digest(image)


def render_all(svgs: Sequence[str], processes: int) -> Generator[list[tuple[bytes, str]], None, None]:
    """What ``render`` makes of each, in blocks. The renderer holds the interpreter's lock: processes, not threads.

    ValueError: the renderer is not installed. ChildProcessError: somebody ended one of the processes.
    """
    if find_spec("resvg_py") is None:
        raise Refusal("resvg-py, which renders the drawings, is not installed: pip install 'metarl[images]'")
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
    """Ctrl-C reaches all processes of a terminal: the first one deals with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def render_block(svgs: Sequence[str]) -> list[tuple[bytes, str]]:
    """What ``render`` makes of each."""
    return [render(svg) for svg in svgs]


def digest(image: Image.Image) -> str:
    """Tells an image's pixels from others of the same size."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def blank(side: int) -> str:
    """The digest of an image on which nothing is drawn."""
    return digest(Image.new("RGB", (side, side), "white"))
