"""The npm package with the drawings: fetched by npm or read from a file, and verified."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from metarl.core.errors import Refusal

PACKAGE = "@iconify/json@2.2.535"
# As the npm registry states it: npm view @iconify/json@2.2.535 dist.integrity
INTEGRITY = "sha512-nAV60ACUSHwnsb6fsp+letHlNkrwO4vzBtcC6B4EDHErQQfezk7E3nJdnwJjve6OCfMNO0uVT5Vrgna9/NCmXw=="

# The package's own JSON formats; https://iconify.design/docs/types/iconify-json.html
Json = dict[str, Any]


@dataclass(frozen=True)
class Drawing:
    """One drawing of a class, in SVG."""

    split: str
    concept: str  # the class
    style: str  # the icon set it is from
    svg: str

    @property
    def path(self) -> Path:
        """The place of the picture in the data set."""
        return Path(self.split, self.concept, f"{self.style}.png")


def read_package(tarball: Path | None, wanted: Sequence[str] | None = None) -> tuple[Json, dict[str, Json]]:
    """Return the package's ``collections.json`` and its icon sets by name: those ``wanted``, or all.

    Without a tarball the package is fetched by npm. Raise ValueError if npm or the file is missing, or if the file is
    another version of the package.
    """
    if tarball is not None:
        return _read(tarball, wanted)
    with TemporaryDirectory(prefix="metarl-") as folder:
        return _read(_fetch(Path(folder)), wanted)


def svg(icon_set: Json, name: str, side: int) -> str:
    """Return an icon of a set as an SVG document of ``side`` x ``side`` pixels, its own shape centered."""
    icon = icon_set["icons"][name]

    def size(key: str, default: int) -> float:
        return float(icon.get(key, icon_set.get(key, default)))

    box = f"{size('left', 0):g} {size('top', 0):g} {size('width', 16):g} {size('height', 16):g}"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{side}" height="{side}" viewBox="{box}">{icon["body"]}</svg>'
    )


def _fetch(folder: Path) -> Path:
    command = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", str(folder)]
    hint = f"run 'npm pack {PACKAGE}' where it works, and give the file as --tarball"
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError:
        raise Refusal(f"npm, which fetches {PACKAGE}, is not installed: {hint}") from None
    tarballs = list(folder.glob("*.tgz"))
    if done.returncode or len(tarballs) != 1:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Refusal(f"npm could not fetch {PACKAGE} ({reason}): {hint}")
    return tarballs[0]


def _read(tarball: Path, wanted: Sequence[str] | None) -> tuple[Json, dict[str, Json]]:
    _verify(tarball)
    contents = dict(_members(tarball, None if wanted is None else {f"{name}.json" for name in wanted}))
    return contents.pop("collections"), contents


def _verify(tarball: Path) -> None:
    algorithm, _, expected = INTEGRITY.partition("-")
    try:
        with open(tarball, "rb") as file:
            digest = hashlib.file_digest(file, algorithm).digest()
    except OSError as error:
        raise Refusal(f"cannot read {tarball}: {error.strerror}") from None
    if base64.b64encode(digest).decode() != expected:
        raise Refusal(f"{tarball} is not the tarball of {PACKAGE}: its {algorithm} checksum differs")


def _members(tarball: Path, wanted: set[str] | None) -> Iterator[tuple[str, Json]]:
    with tarfile.open(tarball, "r|gz") as archive:
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            is_set = folder == "package/json" and (wanted is None or name in wanted)
            if is_set or member.name == "package/collections.json":
                file = archive.extractfile(member)
                assert file is not None
                yield name.removesuffix(".json"), json.load(file)
