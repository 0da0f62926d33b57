"""Books (EPUB 2 and 3) to blocks: their chapters in the order of the spine, each as the web page that it is.

Turned down for this: xberg (loses headings that only the table of contents knows, words of merged lines and lists).
"""

import re
from xml.etree import ElementTree as ET

from ragecho.engines.parsing.build import DocumentBuilder
from ragecho.engines.parsing.detect import decode
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.html import read_html
from ragecho.engines.parsing.package import Package, declares_entities, resolved, time_of, words_of
from ragecho.kernel.parsed import BlockKind
from ragecho.ports.parser import ParseLimits

_HEADING = re.compile(r"<h[1-6][\s>]", re.I)
_PAGES = (".xhtml", ".html", ".htm", ".xml")


def read_epub(builder: DocumentBuilder, data: bytes, limits: ParseLimits) -> None:
    """Add the blocks of a book. Raises `ParseFailed`: "encrypted" for one with rights management, "damaged"."""
    package = Package(data)
    if _is_locked(package):
        raise failure("encrypted")
    container = package.part("META-INF/container.xml")
    root_file = container.find(".//rootfile") if container is not None else None
    place = root_file.get("full-path", "") if root_file is not None else ""
    place = place or next((name for name in package.names if name.endswith(".opf")), "")
    book = package.part(place)
    if book is None:
        raise failure("entities" if declares_entities(data) else "damaged")
    _describe(builder, book)
    items = {one.get("id", ""): one for one in book.iterfind("manifest/item")}
    names = _chapter_names(package, place, items)
    chapters = [items[key] for one in book.iterfind("spine/itemref") if (key := one.get("idref", "")) in items]
    if len(chapters) > limits.members:
        raise failure("too_many_members", limit=limits.members)
    for chapter in chapters:
        path = resolved(place, chapter.get("href", ""))
        content = package.raw(path)
        if content is None or "nav" in chapter.get("properties", "").split():
            continue
        text, _ = decode(content, is_html=True)
        if path in names and not _HEADING.search(text):
            builder.add(BlockKind.HEADING, names[path], level=1)
            text = _without_first_words(text, names[path])
        read_html(builder, text)


def _without_first_words(page: str, words: str) -> str:
    """Return a page without the words that it begins with, where these are its title made to look like one."""
    _, opening, body = page.partition("<body")
    pieces = [re.escape(word) for word in words.split()]
    found = re.match(
        r"([^>]*>(?:\s|<[^>]*>)*)" + r"(?:\s|<[^>]*>)+".join(pieces) + r"(?=\s*</(?:p|div)>|\s*</span>\s*</p>)", body
    )
    return page if found is None or not opening else f"{page.partition('<body')[0]}<body{found[1]}{body[found.end() :]}"


def _describe(builder: DocumentBuilder, book: ET.Element) -> None:
    known = book.find("metadata")
    if known is None:
        return
    older = known.find("dc-metadata")
    known = older if older is not None else known
    dates = [words_of(one) for one in known.iterfind("date")]
    builder.describe(
        title=words_of(known.find("title")) or None,
        authors=[name.strip() for one in known.iterfind("creator") for name in words_of(one).split(";")],
        created=next((found for one in dates if (found := time_of(one) or time_of(f"{one}-01-01"))), None),
    )


def _chapter_names(package: Package, place: str, items: dict[str, ET.Element]) -> dict[str, str]:
    """Return what the table of contents calls the parts that it leads to, for those that it leads to as a whole."""
    found: dict[str, str] = {}
    for item in items.values():
        path = resolved(place, item.get("href", ""))
        if item.get("media-type") == "application/x-dtbncx+xml":
            root = package.part(path)
            for point in root.iter("navPoint") if root is not None else ():
                target = point.find("content")
                if target is not None and "#" not in target.get("src", "#"):
                    found.setdefault(resolved(path, target.get("src", "")), words_of(point.find("navLabel")))
        elif "nav" in item.get("properties", "").split():
            root = package.part(path)
            for link in root.iter("a") if root is not None else ():
                if link.get("href") and "#" not in link.get("href", "#"):
                    found.setdefault(resolved(path, link.get("href", "")), words_of(link))
    return found


def _is_locked(package: Package) -> bool:
    """Tell whether chapters are encrypted; fonts often are, which locks nothing."""
    encryption = package.part("META-INF/encryption.xml")
    references = encryption.iter("CipherReference") if encryption is not None else ()
    return any(one.get("URI", "").lower().endswith(_PAGES) for one in references)
