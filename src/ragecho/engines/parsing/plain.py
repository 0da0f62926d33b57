"""Plain text, and text that is code."""

import re

from ragecho.engines.parsing.build import DocumentBuilder
from ragecho.kernel.parsed import BlockKind

_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*?(?=[ \t]*\S)")
_INDENTED = re.compile(r"(?: {4}|\t)")
# A blank line before something that is not indented: where definitions part. Within them every line stays as it is.
_BETWEEN_DEFINITIONS = re.compile(r"\n(?:[ \t]*\n)+(?=[^\s})\]])")


def read_plain(builder: DocumentBuilder, text: str) -> None:
    """Add a block per paragraph, where blank lines part them; indented ones are code."""
    for paragraph in _BLANK_LINES.split(text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = [line for line in paragraph.split("\n") if line.strip()]
        if not lines:
            continue
        looks_like_code = all(_INDENTED.match(line) for line in lines)
        builder.add(BlockKind.CODE if looks_like_code else BlockKind.PARAGRAPH, "\n".join(map(str.rstrip, lines)))


def read_code(builder: DocumentBuilder, text: str) -> None:
    """Add the blocks of a program, verbatim, parted where one definition ends and the next begins."""
    for piece in _BETWEEN_DEFINITIONS.split(text.replace("\r\n", "\n").replace("\r", "\n")):
        builder.add(BlockKind.CODE, piece)
