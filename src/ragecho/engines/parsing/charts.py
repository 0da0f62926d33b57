"""Charts and diagrams in Office Open XML: a chart's numbers as a table, a diagram's words as a list."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from ragecho.engines.parsing.build import DocumentBuilder, table_text
from ragecho.engines.parsing.package import Package, words_of
from ragecho.kernel.parsed import BlockKind

_MOST_POINTS = 10_000
_FILE_NAME = re.compile(r"\.(?:png|jpe?g|gif|emf|wmf|svg|tiff?|bmp|webp)$", re.I)
_MACHINE_MADE = re.compile(r"Description automatically generated|AI-generated content may be incorrect", re.I)


def description(element: ET.Element) -> str:
    """Return what the author says a picture or shape shows; file names and the program's own guesses are nothing."""
    named = next((one for one in element.iter() if one.tag in ("cNvPr", "docPr")), None)
    text = (named.get("descr", "") if named is not None else "").strip()
    return "" if _FILE_NAME.search(text) or _MACHINE_MADE.search(text) else text


def add_drawn(builder: DocumentBuilder, package: Package, part: str, drawing: ET.Element) -> None:
    """Add the charts and diagrams that a drawing on `part` shows."""
    for element in drawing.iter():
        if element.tag == "chart" and element.get("r:id"):
            add_chart(builder, package.part(package.target(part, element.get("r:id", ""))))
        elif element.tag == "relIds":
            add_diagram(builder, package.part(package.target(part, element.get("r:dm", ""))))


def add_chart(builder: DocumentBuilder, root: ET.Element | None) -> None:
    """Add a chart: its title, then a column per series and a row per category."""
    if root is None:
        return
    builder.add(BlockKind.PARAGRAPH, chart_title(root))
    builder.add(BlockKind.TABLE, table_text(_rows(root)))


def chart_title(root: ET.Element) -> str:
    """Return what stands over a chart."""
    return words_of(root.find("chart/title/tx/rich"))


def _rows(root: ET.Element) -> list[list[str]]:
    series = []
    for one in root.iter("ser"):
        name = " ".join(point for _, point in sorted(_points(one.find("tx")).items()))
        categories = _points(one.find("cat")) or _points(one.find("xVal"))
        series.append((name, categories, _points(one.find("val")) or _points(one.find("yVal"))))
    if not series:
        return []
    categories = max((known for _, known, _ in series), key=len)
    length = max(max(points, default=-1) for _, *both in series for points in both) + 1
    rows = [["", *(name for name, _, _ in series)]]
    for index in range(min(length, _MOST_POINTS)):
        rows.append([categories.get(index, ""), *(values.get(index, "") for _, _, values in series)])
    return rows


def _points(element: ET.Element | None) -> dict[int, str]:
    """Return the points that a chart keeps of its data, by their place; those of several levels are joined."""
    found: dict[int, str] = {}
    if element is None:
        return found
    levels = element.findall(".//lvl") or [element]
    for level in reversed(levels):
        for number, point in enumerate(level.iter("pt")):
            index = _whole(point.get("idx"), number)
            found[index] = f"{found.get(index, '')} {_shown(words_of(point.find('v')))}".strip()
    if not found and element.find("v") is not None:
        found[0] = words_of(element.find("v"))
    return found


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 7 else otherwise  # noqa: PLR2004 (digits)


def _shown(value: str) -> str:
    """Return a number without the noise of its binary form: 8.1999999999999993 is 8.2."""
    try:
        return f"{float(value):.15g}" if "." in value and "e" not in value.lower() else value
    except ValueError:
        return value


def add_diagram(builder: DocumentBuilder, root: ET.Element | None) -> None:
    """Add what a diagram (SmartArt) says, as a list."""
    for text in _diagram_texts(root):
        builder.add(BlockKind.LIST_ITEM, f"- {text}", level=1)


def _diagram_texts(root: ET.Element | None) -> Iterator[str]:
    for point in root.iter("pt") if root is not None else ():
        if point.get("type", "node") in ("node", "asst"):
            text = " ".join(words_of(paragraph) for paragraph in point.iterfind("t/p")).strip()
            if text:
                yield text
