"""Read a report: what it consists of, what its table says, and what its charts draw."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from metarl.experiments.report.chart import Chart
from metarl.experiments.report.page import write_report
from metarl.experiments.report.runs import Run, read_runs
from metarl.experiments.report.section import section

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


def drawings(text: str) -> dict[str, ElementTree.Element]:
    """The drawings by their titles; each must be XML without nan or None, in the colors of the page."""
    found = {}
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        assert not re.search(r"\b(nan|inf|None)\b", svg)
        element = ElementTree.fromstring(svg)
        found[element.attrib["aria-label"]] = element
    return found


def charts(*folders: Path) -> dict[str, Chart]:
    """The charts of a report on runs without an evaluation, by their titles."""
    topics: dict[str, list[Run]] = {}
    for run in read_runs(folders):
        topics.setdefault(run.topic, []).append(run)
    parts = [part for runs in topics.values() for part in section(runs, {}, []).parts]
    return {chart.title: chart for part in parts for chart in part.charts}


def curve(chart: Chart, label: str) -> np.ndarray:
    """The points [point, 2] of the curve of this label."""
    (line,) = (line for line in chart.figure.axes[0].lines if line.get_label() == label)
    return line.get_xydata()


def labels(chart: Chart) -> list[str]:
    """The labels of the curves."""
    return [line.get_label() for line in chart.figure.axes[0].lines if "|" in (line.get_gid() or "")]


def band(chart: Chart, color: str) -> set[tuple[float, ...]]:
    """The corners of the band of this color."""
    bands = (each for each in chart.figure.axes[0].collections if color in each.get_gid().split())
    return {tuple(corner) for corner in next(bands).get_paths()[0].vertices.round(6).tolist()}
