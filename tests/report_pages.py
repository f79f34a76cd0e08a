"""Reads a report: what it consists of, what its table says, and what its charts draw."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from metarl.experiments.report.page import write_report
from metarl.experiments.report.runs import read_runs

VOID = {"meta", "input", "br", "link", "img", "hr"}


class Page(HTMLParser):
    """Collects what a page consists of, and fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += f"{'|' if self.open[-1] == 'small' else ''}{data}"

    def row(self, name: str) -> dict[str, str]:
        """The cells of a run by their headings."""
        headings = next(row for row in self.cells if row[:2] == ["run", "method"])
        return dict(zip(headings, next(row for row in self.cells if row[0] == name and row != headings), strict=True))


def report(*folders: Path, tasks: int = 0, **options: object) -> str:
    out = folders[0].parent / "page.html"
    assert write_report(read_runs(folders), out, tasks, **options) == out
    return out.read_text()


def charts(text: str) -> dict[str, ElementTree.Element]:
    """The drawings by their titles; each must be XML that names no colour scheme, no nan, no None."""
    drawings = {}
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        assert not re.search(r"\b(nan|inf|None)\b", svg)
        element = ElementTree.fromstring(svg)
        drawings[element.attrib["aria-label"]] = element
    return drawings


def numbers(svg: ElementTree.Element, path: ElementTree.Element) -> np.ndarray:
    """The points [point, 2] of a path, in the units of the axes."""
    points = np.array(re.findall(r"[ML]([-.\d]+) ([-.\d]+)", path.attrib["d"]), float)
    for axis, name in enumerate(("data-x", "data-y")):
        low, high, start, end = map(float, svg.attrib[name].split())
        points[:, axis] = low + (points[:, axis] - start) / (end - start) * (high - low)
    return points


def by_class(svg: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [element for element in svg.iter() if name in element.attrib.get("class", "").split()]
