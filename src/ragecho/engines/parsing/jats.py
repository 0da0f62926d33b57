"""Articles in JATS (ANSI/NISO Z39.96): title, authors, abstract, sections, tables, figures, formulas, references."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from ragecho.engines.parsing.build import DocumentBuilder
from ragecho.engines.parsing.html import read_html
from ragecho.kernel.parsed import BlockKind

_DEEPEST_HEADING = 6
_SKIPPED = frozenset({"object-id", "label", "title", "graphic", "media", "permissions", "sec-meta", "alternatives-id"})
_CONTAINERS = frozenset(
    {"body", "back", "app-group", "app", "fn-group", "boxed-text", "supplementary-material", "floats-group", "glossary"}
    | {"sec", "ack", "abstract", "trans-abstract", "statement", "disp-quote", "fig-group", "table-wrap-group", "notes"}
    | {"sub-article", "response", "front-stub", "disp-formula-group", "verse-group", "attrib", "bio", "caption"}
)
_NAMED = {"ack": "Acknowledgements", "ref-list": "References", "abstract": "Abstract", "glossary": "Glossary"}
_QUIET = frozenset({"front", "front-stub", "processing-meta", "journal-meta"})


def read_jats(builder: DocumentBuilder, article: ET.Element) -> None:
    """Add the blocks of an article whose names have no namespaces."""
    meta = article.find("front/article-meta")
    if meta is not None:
        _read_front(builder, meta)
    for part in article:
        if part.tag not in _QUIET:
            _walk(builder, part, 1)


def _read_front(builder: DocumentBuilder, meta: ET.Element) -> None:
    title = _inline(meta.find("title-group/article-title"))
    authors = [
        _person(contributor)
        for contributor in meta.iterfind(".//contrib")
        if contributor.get("contrib-type", "author") == "author"
    ]
    authors = list(dict.fromkeys(name for name in authors if name))
    builder.describe(title=title, authors=authors, created=_date(meta))
    builder.add(BlockKind.HEADING, title, level=1)
    builder.add(BlockKind.META, ", ".join(authors))
    for abstract in [*meta.iterfind("abstract"), *meta.iterfind("trans-abstract")]:
        _walk(builder, abstract, 1)
    keywords = [_inline(word) for word in meta.iterfind("kwd-group/kwd")]
    if keywords:
        builder.add(BlockKind.META, f"Keywords: {', '.join(filter(None, keywords))}")


def _person(contributor: ET.Element) -> str:
    name = contributor.find("name")
    if name is None:
        return _inline(contributor.find("collab")) or _inline(contributor.find("string-name"))
    return " ".join(filter(None, (_inline(name.find(part)) for part in ("given-names", "surname", "suffix"))))


def _date(meta: ET.Element) -> datetime | None:
    for date in [*meta.iterfind("pub-date"), *meta.iterfind("history/date")]:
        parts = [date.findtext(part, "").strip() for part in ("year", "month", "day")]
        try:
            return datetime(int(parts[0]), int(parts[1] or 1), int(parts[2] or 1), tzinfo=UTC)
        except ValueError:
            continue
    return None


def _walk(builder: DocumentBuilder, element: ET.Element, depth: int) -> None:  # noqa: PLR0912 (one branch per kind of element)
    match element.tag:
        case "p" | "term" | "def" | "attrib" | "speaker" | "verse-line":
            _paragraph(builder, element, depth)
        case "list":
            for number, item in enumerate(element.iterfind("list-item"), 1):
                marker = f"{number}. " if element.get("list-type") == "order" else "- "
                builder.add(BlockKind.LIST_ITEM, marker + _inline(item), level=1)
        case "def-list":
            for item in element.iterfind("def-item"):
                builder.add(BlockKind.PARAGRAPH, f"{_inline(item.find('term'))}: {_inline(item.find('def'))}")
        case "table-wrap":
            _table(builder, element)
        case "fig":
            builder.add(BlockKind.FIGURE, _caption(element))
        case "disp-formula":
            builder.add(BlockKind.FORMULA, _inline(element))
        case "ref-list":
            _heading(builder, element, depth)
            for reference in element.iterfind("ref"):
                builder.add(BlockKind.LIST_ITEM, f"- {_reference(reference)}", level=1)
        case "fn":
            builder.add(BlockKind.FOOTNOTE, _inline(element))
        case "code" | "preformat":
            builder.add(BlockKind.CODE, "".join(element.itertext()))
        case tag if tag in _CONTAINERS:
            deeper = depth + (_heading(builder, element, depth) and tag not in ("body", "back"))
            for child in element:
                if child.tag not in _SKIPPED:
                    _walk(builder, child, deeper)


def _heading(builder: DocumentBuilder, element: ET.Element, depth: int) -> bool:
    title = _inline(element.find("title")) or _NAMED.get(element.tag, "")
    if element.tag in ("sub-article", "response"):
        title = _inline(element.find("front-stub/title-group/article-title"))
    label = _inline(element.find("label"))
    text = f"{label} {title}".strip() if title else ""
    builder.add(BlockKind.HEADING, text, level=min(_DEEPEST_HEADING, depth + 1))
    return bool(text)


def _paragraph(builder: DocumentBuilder, element: ET.Element, depth: int) -> None:
    """Add a paragraph; what stands in it as a block of its own (table, figure, list, formula) follows it."""
    blocks = [child for child in element if child.tag in ("table-wrap", "fig", "list", "boxed-text", "disp-formula")]
    builder.add(BlockKind.PARAGRAPH, _inline(element, leave_out=frozenset(map(id, blocks))))
    for block in blocks:
        _walk(builder, block, depth)


def _table(builder: DocumentBuilder, element: ET.Element) -> None:
    builder.add(BlockKind.FIGURE, _caption(element))
    for table in element.iter("table"):
        for cell in table.iter("inline-formula"):
            text, tail = _inline(cell), cell.tail
            cell.clear()
            cell.text, cell.tail = text, tail
        read_html(builder, ET.tostring(table, encoding="unicode", method="html"))
    for note in element.iterfind("table-wrap-foot"):
        builder.add(BlockKind.FOOTNOTE, _inline(note))


def _caption(element: ET.Element) -> str:
    label = _inline(element.find("label"))
    caption = element.find("caption")
    parts = [_inline(part) for part in caption] if caption is not None else []
    return " ".join(filter(None, [f"{label.rstrip('.')}." if label else "", *parts]))


def _reference(reference: ET.Element) -> str:
    parts = []
    for citation in reference:
        if citation.tag in ("element-citation", "nlm-citation", "citation", "mixed-citation"):
            is_written = citation.tag == "mixed-citation" and bool((citation.text or "").strip())
            parts.append(_inline(citation) if is_written else ". ".join(_citation_parts(citation)))
    return " ".join(filter(None, parts)) or _inline(reference)


def _citation_parts(citation: ET.Element) -> Iterator[str]:
    people = []
    for name in citation.iter("name"):
        people.append(" ".join(filter(None, (_inline(name.find("surname")), _inline(name.find("given-names"))))))
    people += [_inline(collaboration) for collaboration in citation.iter("collab")]
    yield from filter(None, [", ".join(filter(None, people))])
    for part in citation:
        if part.tag not in ("person-group", "name", "collab", "object-id", "fpage", "lpage"):
            yield from filter(None, [_inline(part)])
    pages = "–".join(filter(None, (_inline(citation.find("fpage")), _inline(citation.find("lpage")))))
    yield from filter(None, [pages])


def _inline(element: ET.Element | None, leave_out: frozenset[int] = frozenset()) -> str:
    """Return an element's text on one line; of a formula's several forms one."""
    if element is None:
        return ""
    return re.sub(r"\s+([,.;:)])(?=\s|$)", r"\1", " ".join("".join(_pieces(element, leave_out)).split()))


def _pieces(element: ET.Element, leave_out: frozenset[int]) -> Iterator[str]:
    formula = element.find(".//tex-math") if element.tag in ("inline-formula", "disp-formula", "alternatives") else None
    if formula is not None:
        yield _tex("".join(formula.itertext()))
        return
    yield element.text or ""
    for child in element:
        if id(child) not in leave_out and child.tag not in ("object-id", "graphic"):
            if child.tag in ("p", "list-item", "break", "title", "label"):
                yield " "
            yield from _pieces(child, leave_out)
        yield child.tail or ""


def _tex(source: str) -> str:
    body = re.search(r"\\begin\{document\}(.*?)\\end\{document\}", source, re.S)
    return (body[1] if body else source).strip()
