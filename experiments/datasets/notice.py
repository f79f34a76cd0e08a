"""Whose drawings a data set holds, and under which licences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from metarl.experiments.datasets import package
from metarl.experiments.datasets.package import Drawing, Json


def notice(drawings: Iterable[Drawing], collections: Json, side: int) -> str:
    """The text of the file NOTICE: of each style its author, its license and how many images are from it."""
    counts = Counter(drawing.style for drawing in drawings)
    head = (
        f"The images are renderings, {side} x {side} pixels on white, of drawings from the npm package\n"
        f"{package.PACKAGE} ({package.INTEGRITY}).\n"
        "They were not changed otherwise. Each file is named after the style that it is from; its license is that of\n"
        "the style, as the package's collections.json states it.\n"
    )
    return "\n".join([head, *(entry(style, counts[style], collections[style]) for style in sorted(counts))])


def entry(style: str, images: int, about: Json) -> str:
    """The lines about one style."""
    author, license = about["author"], about["license"]
    lines = [
        f"{style}: {about['name']}, {images} images",
        f"  author:  {' '.join(filter(None, (author['name'], author.get('url'))))}",
        f"  license: {' '.join(filter(None, (license['title'], '(' + license['spdx'] + ')', license.get('url'))))}",
    ]
    return "\n".join(lines) + "\n"
