"""``icons``: everyday concepts as many icon sets draw them, all of them for testing what was learned elsewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from metarl.experiments.datasets.package import Drawing, Json, svg

LICENSES = ("MIT", "Apache-2.0", "ISC", "BSD-3-Clause", "CC0-1.0", "Unlicense", "CC-BY-4.0", "CC-BY-3.0")
# Emoji are the other data set; logos and flags are drawn alike by all sets.
LEFT_OUT = ("Emoji", "Logos", "Flags / Maps")
LEAST_STYLES = 20
SPLIT = "test"


def permitted_sets(collections: Json) -> list[str]:
    """Return the icon sets whose license permits use, change and redistribution under other licenses.

    Sets that a newer version has superseded, marked as hidden, are left out.
    """
    return sorted(
        name
        for name, about in collections.items()
        if about["license"].get("spdx") in LICENSES
        and about.get("category") not in LEFT_OUT
        and not about.get("hidden", False)
    )


def icon_drawings(icon_sets: Mapping[str, Json], styles: Sequence[str], side: int) -> Iterator[Drawing]:
    """Yield the icons that have the same name in at least twenty of the sets ``styles``."""
    drawn: dict[str, list[str]] = defaultdict(list)
    for style in styles:
        for name, icon in icon_sets[style]["icons"].items():
            if not icon.get("hidden", False):
                drawn[name].append(style)
    for concept, drawing in sorted(drawn.items()):
        if len(drawing) >= LEAST_STYLES:
            for style in drawing:
                yield Drawing(SPLIT, concept, style, svg(icon_sets[style], concept, side))
