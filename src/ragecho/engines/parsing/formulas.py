"""Formulas of Office Open XML (OMML, ECMA-376 part 1, 22.1) as they would be written in LaTeX."""

from collections.abc import Iterable
from xml.etree import ElementTree as ET

_DEEPEST = 60
_NARY = {"∑": "\\sum", "∏": "\\prod", "∫": "\\int", "∬": "\\iint", "∮": "\\oint", "⋃": "\\bigcup", "⋂": "\\bigcap"}
_ACCENTS = {
    "\u0302": "\\hat",
    "\u0303": "\\tilde",
    "\u0304": "\\bar",
    "\u0305": "\\overline",
    "\u0307": "\\dot",
    "\u20d7": "\\vec",
}


def as_tex(element: ET.Element, depth: int = 0) -> str:
    """Return a formula, or a part of one; element names are without namespaces."""
    if depth > _DEEPEST:
        return ""
    return " ".join("".join(_each(element, depth)).split())


def _each(elements: Iterable[ET.Element], depth: int) -> Iterable[str]:
    return (_one(child, depth + 1) for child in elements)


def _part(element: ET.Element, name: str, depth: int) -> str:
    found = element.find(name)
    return as_tex(found, depth) if found is not None else ""


def _value(element: ET.Element, path: str, otherwise: str) -> str:
    found = element.find(path)
    return found.get("val", otherwise) if found is not None else otherwise


def _one(element: ET.Element, depth: int) -> str:  # noqa: PLR0911, PLR0912 (one branch per kind of element)
    def part(name: str) -> str:
        return _part(element, name, depth)

    match element.tag:
        case "r":
            return "".join(text.text or "" for text in element.iterfind("t"))
        case "f":
            return f"\\frac{{{part('num')}}}{{{part('den')}}}"
        case "sSup":
            return f"{part('e')}^{{{part('sup')}}}"
        case "sSub":
            return f"{part('e')}_{{{part('sub')}}}"
        case "sSubSup":
            return f"{part('e')}_{{{part('sub')}}}^{{{part('sup')}}}"
        case "sPre":
            return f"{{}}_{{{part('sub')}}}^{{{part('sup')}}}{part('e')}"
        case "rad":
            degree = part("deg")
            return f"\\sqrt[{degree}]{{{part('e')}}}" if degree else f"\\sqrt{{{part('e')}}}"
        case "nary":
            sign = _value(element, "naryPr/chr", "∫")
            below, above = part("sub"), part("sup")
            limits = f"_{{{below}}}" * bool(below) + f"^{{{above}}}" * bool(above)
            return f"{_NARY.get(sign, sign)}{limits} {part('e')}"
        case "d":
            left, right = _value(element, "dPr/begChr", "("), _value(element, "dPr/endChr", ")")
            between = _value(element, "dPr/sepChr", "|")
            return left + between.join(as_tex(one, depth) for one in element.iterfind("e")) + right
        case "func":
            return f"\\{name} {part('e')}" if (name := part("fName")).isalpha() else f"{part('fName')} {part('e')}"
        case "acc":
            return f"{_ACCENTS.get(_value(element, 'accPr/chr', '\u0302'), '\\hat')}{{{part('e')}}}"
        case "bar":
            return f"\\overline{{{part('e')}}}"
        case "limLow":
            return f"{part('e')}_{{{part('lim')}}}"
        case "limUpp":
            return f"{part('e')}^{{{part('lim')}}}"
        case "m":
            rows = [" & ".join(as_tex(cell, depth) for cell in row.iterfind("e")) for row in element.iterfind("mr")]
            return "\\begin{matrix} " + " \\\\ ".join(rows) + " \\end{matrix}"
        case "eqArr":
            return " \\\\ ".join(as_tex(one, depth) for one in element.iterfind("e"))
        case tag if tag.endswith("Pr"):
            return ""
    return as_tex(element, depth)
