"""What xberg leaves out of Office Open XML (ECMA-376): comments on cells, and charts as tables."""

import io
import posixpath
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from ragecho.engines.parsing.detect import decode
from ragecho.engines.parsing.markup import parse_xml
from ragecho.kernel.errors import ParseFailed

_MOST_PART_BYTES = 16 * 1024**2
_MOST_PARTS = 2_000
_SHEETS = "xl/workbook.xml"


class Package:
    """The parts of an Office file; one that is missing, huge or broken is as if it were empty."""

    def __init__(self, data: bytes) -> None:
        self._archive = zipfile.ZipFile(io.BytesIO(data))
        self.names = self._archive.namelist()[:_MOST_PARTS]

    def part(self, name: str) -> ET.Element | None:
        """Return the root of an XML part, names without namespaces."""
        try:
            if self._archive.getinfo(name).file_size > _MOST_PART_BYTES:
                return None
            return parse_xml(decode(self._archive.read(name))[0])
        except (KeyError, ParseFailed, zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
            return None

    def related(self, name: str) -> list[tuple[str, str, str]]:
        """Return id, kind (the last word of its type) and part name of what a part refers to within the file."""
        folder, file = posixpath.split(name)
        relations = self.part(f"{folder}/_rels/{file}.rels")
        found = []
        for one in relations if relations is not None else ():
            target = one.get("Target", "")
            if one.get("TargetMode") != "External":
                path = target[1:] if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
                found.append((one.get("Id", ""), one.get("Type", "").rpartition("/")[2], path))
        return found


def declares_entities(data: bytes) -> bool:
    """Tell whether an XML part of a ZIP-based document declares entities."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist()[:_MOST_PARTS]:
                if entry.filename.endswith((".xml", ".rels", ".opf")) and entry.file_size <= _MOST_PART_BYTES:
                    with archive.open(entry) as part:
                        if b"<!ENTITY" in part.read(1 << 16):
                            return True
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
        return False
    return False


def cell_comments(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield the number of the sheet (from 1) and the text of each comment: "B2 (Jane Editor): Which one?"."""
    package = Package(data)
    targets = {key: path for key, kind, path in package.related(_SHEETS) if kind == "worksheet"}
    people = _people(package)
    workbook = package.part(_SHEETS)
    sheets = workbook.findall("sheets/sheet") if workbook is not None else []
    for number, sheet in enumerate(sheets, 1):
        key = next((value for name, value in sheet.attrib.items() if name.endswith("}id")), "")
        if key not in targets:
            continue
        by_kind = {kind: path for _, kind, path in package.related(targets[key])}
        threaded = package.part(by_kind["threadedComment"]) if "threadedComment" in by_kind else None
        answered = set()
        for comment in threaded if threaded is not None else ():
            answered.add(comment.get("ref"))
            yield number, _shown(comment, people.get(comment.get("personId", ""), ""))
        plain = package.part(by_kind["comments"]) if "comments" in by_kind else None
        if plain is None:
            continue
        authors = [author.text or "" for author in plain.iterfind("authors/author")]
        for comment in plain.iterfind("commentList/comment"):
            if comment.get("ref") not in answered:  # a thread's plain copy tells people to update Excel
                index = int(comment.get("authorId", "0") or 0)
                yield number, _shown(comment, authors[index] if index < len(authors) else "")


def _people(package: Package) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in package.names:
        if name.startswith("xl/persons/") and (people := package.part(name)) is not None:
            found |= {person.get("id", ""): person.get("displayName", "") for person in people}
    return found


def _shown(comment: ET.Element, author: str) -> str:
    text = " ".join("".join(comment.itertext()).split())
    lead = f"{comment.get('ref', '')} ({author})" if author else comment.get("ref", "")
    return f"{lead}: {text}"


def charts(data: bytes) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield each chart as the line that xberg makes of it, and as rows: a column per series, a row per category."""
    package = Package(data)
    for name in package.names:
        folder, _, file = name.rpartition("/")
        root = package.part(name) if folder.endswith("/charts") and file.startswith("chart") else None
        if root is None:
            continue
        series = [
            (_points(one.find("tx")), _points(one.find("cat")) or _points(one.find("xVal")), _values(one))
            for one in root.iter("ser")
        ]
        if not series:
            continue
        line = ", ".join(point for parts in series for part in parts for point in part)
        categories = max((cats for _, cats, _ in series), key=len)
        length = max([len(categories), *(len(values) for _, _, values in series)])
        rows = [["", *(" ".join(names) for names, _, _ in series)]]
        for index in range(length):
            cells = [values[index] if index < len(values) else "" for _, _, values in series]
            rows.append([categories[index] if index < len(categories) else "", *cells])
        yield line, rows


def _values(series: ET.Element) -> list[str]:
    return _points(series.find("val")) or _points(series.find("yVal"))


def _points(element: ET.Element | None) -> list[str]:
    return [point.text or "" for point in element.iter("v")] if element is not None else []
