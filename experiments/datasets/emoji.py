"""``emoji``: the same emoji as ten independent styles draw them; the classes of a split share their top category."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from metarl.experiments.datasets.package import Drawing, Json, svg

STYLES = (
    "noto",
    "noto-v1",
    "fxemoji",
    "fluent-emoji-flat",
    "fluent-emoji-high-contrast",
    "twemoji",
    "emojione",
    "emojione-monotone",
    "openmoji",
    "emojione-v1",
)
# The style whose names and categories are used. Flags and symbols are left out: all styles draw them alike.
NAMING = "noto"
SPLIT_OF_CATEGORY = {
    "Objects": "train",
    "Travel & Places": "train",
    "Smileys & Emotion": "train",
    "Activities": "train",
    "Food & Drink": "val",
    "Animals & Nature": "test",
    "People & Body": "test",
}
# 24 clock faces differ by their hands alone.
CLOCK_FACE = re.compile(r"-(oclock|thirty)$")
# In some styles the name of the game, in others that of the insect.
AMBIGUOUS = {"cricket"}
LEAST_STYLES = 8

# For each emoji the icon's name in each style.
Names = dict[str, dict[str, str]]


def emoji_drawings(icon_sets: Mapping[str, Json], styles: Sequence[str], side: int) -> Iterator[Drawing]:
    """Yield the drawings by ``styles`` of the emoji that at least eight of the ten styles have.

    With fewer than eight ``styles`` an emoji must be drawn by all of them. ``icon_sets`` holds all ten styles, so that
    the classes do not depend on the choice of styles.
    """
    categories = {
        name: category for category, names in icon_sets[NAMING]["categories"].items() for name in sorted(names)
    }
    for concept, names in sorted(common_emoji(icon_sets, categories).items()):
        drawn = [style for style in styles if style in names]
        if len(drawn) >= min(LEAST_STYLES, len(styles)):
            for style in drawn:
                image = svg(icon_sets[style], names[style], side)
                yield Drawing(SPLIT_OF_CATEGORY[categories[concept]], concept, style, image)


def common_emoji(icon_sets: Mapping[str, Json], categories: Mapping[str, str]) -> Names:
    """Return the emoji of the wanted categories that at least eight styles draw."""
    group = alias_groups(icon_sets.values())
    drawn: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for style in STYLES:
        for name in icon_sets[style]["icons"]:
            drawn[group(name)][style].append(name)
    common: Names = {}
    taken = set()
    for concept in sorted(categories):
        names = drawn[group(concept)]
        fits = categories[concept] in SPLIT_OF_CATEGORY and not CLOCK_FACE.search(concept)
        if fits and len(names) >= LEAST_STYLES and group(concept) not in taken:
            taken.add(group(concept))
            # A style may draw an emoji under an old name, too.
            common[concept] = {
                style: min(same, key=lambda name: (spelling(name) != spelling(concept), name))
                for style, same in names.items()
            }
    return common


def alias_groups(icon_sets: Iterable[Json]) -> Callable[[str], str]:
    """Return a function from a name to the representative of all names that some style's aliases equate with it."""
    parents: dict[str, str] = {}

    def representative(name: str) -> str:
        name = spelling(name)
        while name in parents:
            name = parents[name]
        return name

    for icon_set in icon_sets:
        for alias, target in icon_set.get("aliases", {}).items():
            # Others are mirrored or turned.
            if target.keys() == {"parent"} and alias not in AMBIGUOUS:
                first, second = representative(alias), representative(target["parent"])
                if first != second:
                    parents[first] = second
    return representative


def spelling(name: str) -> str:
    """Return the name without hyphens, because fxemoji writes it in one word."""
    return name.replace("-", "")
