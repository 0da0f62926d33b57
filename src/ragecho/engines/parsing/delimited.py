"""Tables as text (CSV, TSV; RFC 4180 and what is in use): the delimiter that parts the most lines alike."""

import csv
import io
import re
from collections import Counter

from ragecho.engines.parsing.build import DocumentBuilder, tables
from ragecho.kernel.parsed import BlockKind

_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 50
_LONGEST_FIELD = 1 << 20
_NAMED = re.compile(r"\A\s*sep=(.)\r?\n", re.I)


def read_delimited(builder: DocumentBuilder, text: str, delimiter: str | None = None) -> None:
    """Add the table of a text; long ones are several, each with the header."""
    if named := _NAMED.match(text):  # Excel's own line
        delimiter, text = named[1], text[named.end() :]
    csv.field_size_limit(_LONGEST_FIELD)
    rows = _rows(text, delimiter or _likeliest(text))
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    titles = 0
    while titles < len(filled) - 1 and len(filled[titles]) == 1 < len(filled[titles + 1]):
        builder.add(BlockKind.PARAGRAPH, filled[titles][0])
        titles += 1
    for table in tables(filled[titles:]):
        builder.add(BlockKind.TABLE, table)


def _rows(text: str, delimiter: str) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:  # a field without end, a stray zero byte
        return [line.split(delimiter) for line in text.splitlines()]


def _likeliest(text: str) -> str:
    """Return the delimiter that gives the most lines the same number of fields; of equals the one with more fields."""
    sample = "\n".join(text.splitlines()[:_SAMPLE_LINES])

    def evenness(delimiter: str) -> tuple[float, int]:
        widths = [len(row) for row in _rows(sample, delimiter) if row]
        width, times = Counter(widths).most_common(1)[0] if widths else (1, 0)
        return (times / len(widths), width) if width > 1 else (0.0, 0)

    best = max(_DELIMITERS, key=evenness)
    return best if evenness(best)[1] > 1 else ","
