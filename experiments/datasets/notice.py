"""The authors and licenses of the drawings in a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from metarl.experiments.datasets import package
from metarl.experiments.datasets.package import Drawing, Json


def notice(drawings: Iterable[Drawing], collections: Json, side: int) -> str:
    """Return the text of the file NOTICE: each style's author, license and number of images."""
    counts = Counter(drawing.style for drawing in drawings)
    head = (
        f"The images are renderings, {side} x {side} pixels on white, of drawings from the npm package\n"
        f"{package.PACKAGE} ({package.INTEGRITY}).\n"
        "They were not changed otherwise. Each file is named after the style that it is from; its license is that of\n"
        "the style, as the package's collections.json states it.\n"
    )
    return "\n".join([head, *(entry(style, counts[style], collections[style]) for style in sorted(counts))])


def entry(style: str, images: int, about: Json) -> str:
    """Return the lines about one style."""
    author, license = about["author"], about["license"]
    lines = [
        f"{style}: {about['name']}, {images} images",
        f"  author:  {' '.join(filter(None, (author['name'], author.get('url'))))}",
        f"  license: {' '.join(filter(None, (license['title'], '(' + license['spdx'] + ')', license.get('url'))))}",
    ]
    return "\n".join(lines) + "\n"
