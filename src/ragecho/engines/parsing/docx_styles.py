"""Styles and numbering of Word documents (ECMA-376 part 1, 17.7 and 17.9): what is a heading, and what number it shows."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

_HEADING = re.compile(r"(?:heading|überschrift|titre|título|titolo|kop|titulo) ?([1-9])")
_CODE = re.compile(
    r"html preformatted|(?:^|[ _-])(?:source ?code|code|listing|macro|preformatted text|verbatim)(?:$|[ _-])"
)
_LAST_DIGIT = re.compile(r"[2-9]$")
_DEEPEST = 9
_LONGEST_CHAIN = 20
_ROMAN = (
    (1000, "m"),
    (900, "cm"),
    (500, "d"),
    (400, "cd"),
    (100, "c"),
    (90, "xc"),
    (50, "l"),
    (40, "xl"),
    (10, "x"),
    (9, "ix"),
    (5, "v"),
    (4, "iv"),
    (1, "i"),
)


@dataclass(frozen=True, slots=True)
class Style:
    """What matters of a paragraph's style. `level` is that of a heading, 0 for none; `list` is (numbering, depth)."""

    name: str = ""
    level: int = 0
    list: tuple[str, int] | None = None
    is_hidden: bool = False

    @property
    def is_quote(self) -> bool:
        """Tell whether its paragraphs are quoted."""
        return "quote" in self.name or self.name.startswith(("zitat", "citation"))

    @property
    def is_code(self) -> bool:
        """Tell whether its paragraphs are lines of a program."""
        return _CODE.search(self.name) is not None


class Styles:
    """The styles of a document by id; an unknown one says nothing."""

    def __init__(self, root: ET.Element | None) -> None:
        self._elements: dict[str, ET.Element] = {}
        self._known: dict[str, Style] = {}
        self._default = ""
        for style in root.iterfind("style") if root is not None else ():
            self._elements[style.get("styleId", "")] = style
            if style.get("type") == "paragraph" and style.get("default") in ("1", "true"):
                self._default = style.get("styleId", "")

    def of(self, key: str) -> Style:
        """Return the style with that id; of "" the default paragraph's."""
        key = key or self._default
        if key not in self._known:
            self._known[key] = self._read(key)
        return self._known[key]

    def _chain(self, key: str) -> Iterator[ET.Element]:
        for _ in range(_LONGEST_CHAIN):
            style = self._elements.get(key)
            if style is None:
                return
            yield style
            based = style.find("basedOn")
            key = based.get("val", "") if based is not None else ""

    def _read(self, key: str) -> Style:
        chain = list(self._chain(key))
        names = [_val(style.find("name")).lower() for style in chain] or [key.lower()]
        level, numbering, depth, hidden = 0, None, None, None
        for name, style in zip(names, chain, strict=False):
            level = level or _level_of(name, style)
            number = style.find("pPr/numPr")
            if number is not None:
                numbering = numbering or _val(number.find("numId")) or None
                depth = _whole(_val(number.find("ilvl"))) if depth is None else depth
            hidden = (
                is_on(style.find("rPr/vanish")) if hidden is None and style.find("rPr/vanish") is not None else hidden
            )
        if not chain:
            level = _level_of(names[0], None)
        if numbering and not level and not depth and (digit := _LAST_DIGIT.search(names[0])):
            depth = int(digit[0]) - 1  # "List Bullet 2" has a numbering of its own with one level
        return Style(names[0], level, (numbering, depth or 0) if numbering else None, bool(hidden))


def _level_of(name: str, style: ET.Element | None) -> int:
    if found := _HEADING.fullmatch(name):
        return int(found[1])
    if name in ("title", "titel", "titre", "título", "titolo"):
        return 1
    outline = _val(style.find("pPr/outlineLvl")) if style is not None else ""
    return _whole(outline) + 1 if outline and _whole(outline) < _DEEPEST else 0


def is_on(element: ET.Element | None) -> bool:
    """Tell whether a property that is either on or off is there and on."""
    return element is not None and element.get("val", "1") not in ("0", "false", "off")


def _val(element: ET.Element | None) -> str:
    return element.get("val", "") if element is not None else ""


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 7 else 0  # noqa: PLR2004 (digits)


@dataclass(slots=True)
class _Level:
    format: str = "decimal"
    text: str = ""
    start: int = 1


class Numbering:
    """The lists of a document; counts their items in reading order."""

    def __init__(self, root: ET.Element | None) -> None:
        self._levels: dict[str, dict[int, _Level]] = {}  # numbering -> levels
        self._counter: dict[str, str] = {}  # numbering -> the key it counts under
        self._counts: dict[str, dict[int, int]] = {}
        if root is None:
            return
        abstract = {one.get("abstractNumId", ""): one for one in root.iterfind("abstractNum")}
        linked = {_val(one.find("styleLink")): one for one in abstract.values() if one.find("styleLink") is not None}
        for number in root.iterfind("num"):
            key, base = number.get("numId", ""), _val(number.find("abstractNumId"))
            element = abstract.get(base)
            if element is not None and element.find("numStyleLink") is not None:
                element = linked.get(_val(element.find("numStyleLink")), element)
            levels = _levels(element)
            self._counter[key] = base
            for override in number.iterfind("lvlOverride"):
                place = _whole(override.get("ilvl", "0"))
                if (inner := override.find("lvl")) is not None:
                    levels[place] = _level(inner)
                if (start := override.find("startOverride")) is not None:
                    levels.setdefault(place, _Level()).start = _whole(_val(start))
                    self._counter[key] = key  # it begins anew
            self._levels[key] = levels

    def marker(self, numbering: str, depth: int) -> str:
        """Count an item and return what stands before it: "- ", "1. ", "2.3 ", "" where nothing is shown."""
        levels = self._levels.get(numbering)
        if levels is None:
            return "- "
        level = levels.get(depth, _Level(format="bullet"))
        counts = self._counts.setdefault(self._counter[numbering], {})
        counts[depth] = counts.get(depth, level.start - 1) + 1
        for deeper in [one for one in counts if one > depth]:
            del counts[deeper]
        if level.format == "bullet":
            return "- "
        if level.format == "none" or not level.text:
            return ""
        is_legal = "%" in level.text

        def shown(found: re.Match[str]) -> str:
            place = int(found[1]) - 1
            above = levels.get(place, _Level())
            number = counts.setdefault(place, above.start)
            return in_format(number, above.format)

        text = re.sub(r"%([1-9])", shown, level.text) if is_legal else level.text
        return f"{text.strip()} " if text.strip() else ""


def _levels(element: ET.Element | None) -> dict[int, _Level]:
    if element is None:
        return {}
    return {_whole(one.get("ilvl", "0")): _level(one) for one in element.iterfind("lvl")}


def _level(element: ET.Element) -> _Level:
    start = element.find("start")
    return _Level(
        format=_val(element.find("numFmt")) or "decimal",
        text=_val(element.find("lvlText")),
        start=_whole(_val(start)) if start is not None else 1,
    )


def in_format(number: int, form: str) -> str:
    """Return a number as a numbering shows it."""
    if form in ("lowerLetter", "upperLetter") and number > 0:
        letter = chr(ord("a") + (number - 1) % 26) * min(9, (number - 1) // 26 + 1)
        return letter if form == "lowerLetter" else letter.upper()
    if form in ("lowerRoman", "upperRoman") and 0 < number < 4000:  # noqa: PLR2004 (Roman numerals end there)
        roman = ""
        for value, sign in _ROMAN:
            roman += sign * (number // value)
            number %= value
        return roman if form == "lowerRoman" else roman.upper()
    return f"{number:02}" if form == "decimalZero" else str(number)
