"""Styles and lists of OpenDocument files (OASIS ODF 1.3, 16 and 19): what is hidden, and what number an item shows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from ragecho.engines.parsing.docx_styles import in_format

_LONGEST_CHAIN = 20
_FORMATS = {"1": "decimal", "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}


@dataclass(slots=True)
class _Level:
    format: str = ""  # of `in_format`, "" for none
    prefix: str = ""
    suffix: str = ""
    start: int = 1
    shown: int = 1
    is_bullet: bool = False

    @classmethod
    def of(cls, element: ET.Element) -> "_Level":
        return cls(
            format=_FORMATS.get(element.get("num-format", ""), ""),
            prefix=element.get("num-prefix", ""),
            suffix=element.get("num-suffix", ""),
            start=_whole(element.get("start-value"), 1),
            shown=_whole(element.get("display-levels"), 1),
            is_bullet=element.tag != "list-level-style-number",
        )


@dataclass(slots=True)
class Counter:
    """The numbers of a list's items, by depth (from 1)."""

    levels: dict[int, _Level]
    counts: dict[int, int] = field(default_factory=dict)

    def marker(self, depth: int, start: str | None = None) -> str:
        """Count an item and return what stands before it: "- ", "1. ", "2.3 "; "" where nothing does."""
        level = self.levels.get(depth)
        for deeper in [one for one in self.counts if one > depth]:
            del self.counts[deeper]
        first = _whole(start, 0) or self.counts.get(depth, (level.start if level else 1) - 1) + 1
        self.counts[depth] = first
        if level is None or level.is_bullet:
            return "- "
        if not level.format:
            return ""
        numbers = []
        for above in range(max(1, depth - level.shown + 1), depth + 1):
            known = self.levels.get(above)
            if known is not None and known.format:
                numbers.append(in_format(self.counts.setdefault(above, known.start), known.format))
        text = f"{level.prefix}{'.'.join(numbers)}{level.suffix}".strip()
        return f"{text} " if text else ""


class OpenStyles:
    """The styles of an OpenDocument file, those made for single paragraphs included."""

    def __init__(self, *roots: ET.Element | None) -> None:
        self._styles: dict[str, ET.Element] = {}
        self._lists: dict[str, dict[int, _Level]] = {}
        self._outline: dict[int, _Level] = {}
        for root in roots:
            for element in root.iter() if root is not None else ():
                if element.tag == "style":
                    self._styles[element.get("name", "")] = element
                elif element.tag == "list-style":
                    self._lists[element.get("name", "")] = _levels(element)
                elif element.tag == "outline-style":
                    self._outline = {
                        _whole(one.get("level"), 1): _Level.of(one)
                        for one in element
                        if one.tag == "outline-level-style"
                    }
        for level in self._outline.values():
            level.is_bullet = False

    def _chain(self, name: str) -> Iterator[ET.Element]:
        for _ in range(_LONGEST_CHAIN):
            style = self._styles.get(name)
            if style is None:
                return
            yield style
            name = style.get("parent-style-name", "")

    def names(self, name: str) -> str:
        """Return the names of a style and of those it is made from, in lower case."""
        return " ".join(one.get("display-name", one.get("name", "")) for one in self._chain(name)).lower()

    def is_hidden(self, name: str) -> bool:
        """Tell whether text in a style, or a sheet, is not shown."""
        for style in self._chain(name):
            for properties in style:
                if properties.tag in ("text-properties", "table-properties") and "display" in properties.attrib:
                    return properties.get("display") in ("none", "false")
        return False

    def list_of(self, name: str) -> str:
        """Return the list style that a paragraph style brings along."""
        return next((found for style in self._chain(name) if (found := style.get("list-style-name"))), "")

    def counter(self, name: str) -> Counter:
        """Return a new counter for a list in list style `name`."""
        return Counter(self._lists.get(name, {}))

    def outline(self) -> Counter:
        """Return a new counter for headings."""
        return Counter(self._outline)


def _levels(element: ET.Element) -> dict[int, _Level]:
    return {_whole(one.get("level"), 1): _Level.of(one) for one in element if one.tag.startswith("list-level-style-")}


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 7 else otherwise  # noqa: PLR2004 (digits)
