"""Sheets of a workbook, whatever its format: filled cells to tables, one for each region that empty rows and columns part."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ragecho.engines.parsing.build import DocumentBuilder, table_text, tables, with_one_header
from ragecho.kernel.parsed import BlockKind

_MOST_MERGED_CELLS = 5_000
_LONG = 200  # rows from which a table is cut into several
_NUMBER = re.compile(r"[-+]?[\d.,]+ ?%?$")
Cells = dict[int, str]


@dataclass(slots=True)
class Sheet:
    """The filled cells of a sheet by row and column (both from 1), and which of them are merged."""

    rows: dict[int, Cells] = field(default_factory=dict)
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)  # top, left, bottom, right

    def fill_merged(self) -> None:
        """Repeat the text of merged cells in all the cells that they cover."""
        last_row = max(self.rows, default=0)
        last_column = max((max(cells, default=0) for cells in self.rows.values()), default=0)
        for top, left, bottom, right in self.merged:
            text = self.rows.get(top, {}).get(left)
            rows, columns = range(top, min(bottom, last_row) + 1), range(left, min(right, last_column) + 1)
            if not text or len(rows) * len(columns) > _MOST_MERGED_CELLS:
                continue
            for row in rows:
                cells = self.rows.setdefault(row, {})
                for column in columns:
                    cells.setdefault(column, text)
        self.rows = dict(sorted(self.rows.items()))


@dataclass(slots=True)
class _Region:
    rows: list[tuple[int, Cells]]
    columns: list[int]


def add_sheet(builder: DocumentBuilder, sheet: Sheet) -> None:
    """Add a table for each region of a sheet; what stands alone is a paragraph."""
    sheet.fill_merged()
    for region in _regions(sheet.rows):
        _add_region(builder, region, sheet.merged)


def _add_region(builder: DocumentBuilder, region: _Region, merged: Sequence[tuple[int, int, int, int]]) -> None:
    rows = [(number, [cells.get(column, "") for column in region.columns]) for number, cells in region.rows]
    while len(rows) > 1 and _says_one_thing(rows[0][1]) and not _says_one_thing(rows[1][1]):
        builder.add(BlockKind.PARAGRAPH, next(filter(None, rows.pop(0)[1])))
    if len(region.columns) == 1 or (len(rows) == 1 and _says_one_thing(rows[0][1])):
        lines = [next(filter(None, cells), "") for _, cells in rows]
        for first in range(0, len(lines), _LONG):
            builder.add(BlockKind.PARAGRAPH, "\n".join(lines[first : first + _LONG]))
        return
    texts: list[Sequence[str]] = [cells for _, cells in rows]
    headers = _header_rows(rows, merged)
    texts = with_one_header(texts, headers) if headers > 1 else texts
    for text in tables(texts) if len(texts) > _LONG else [table_text(texts)]:
        builder.add(BlockKind.TABLE, text)


def _regions(rows: dict[int, Cells]) -> Iterator[_Region]:
    """Yield what empty rows and columns part: each most likely a table of its own."""
    groups: list[list[tuple[int, Cells]]] = []
    for number, cells in rows.items():
        if groups and groups[-1][-1][0] == number - 1:
            groups[-1].append((number, cells))
        else:
            groups.append([(number, cells)])
    pending: _Region | None = None
    for group in groups:
        for region in _side_by_side(group):
            if pending is not None and _continues(pending, region):
                pending.rows.extend(region.rows)
                continue
            if pending is not None:
                yield pending
            pending = region
    if pending is not None:
        yield pending


def _side_by_side(group: list[tuple[int, Cells]]) -> Iterator[_Region]:
    """Yield the parts of a group of rows that empty columns part; a single column stays with what stands beside it."""
    columns = sorted({column for _, cells in group for column in cells})
    runs: list[list[int]] = []
    for column in columns:
        if runs and runs[-1][-1] == column - 1:
            runs[-1].append(column)
        else:
            runs.append([column])
    if len(group) == 1 or any(len(run) == 1 for run in runs):
        runs = [columns]
    for run in runs:
        wanted = set(run)
        own = [(number, {at: text for at, text in cells.items() if at in wanted}) for number, cells in group]
        yield _Region([(number, cells) for number, cells in own if cells], run)


def _continues(above: _Region, below: _Region) -> bool:
    """Tell whether a region goes on after an empty row: the same columns, and numbers where a header would have words."""
    first = below.rows[0][1]
    is_beside = above.rows[0][0] == below.rows[0][0]
    return (
        not is_beside
        and len(above.columns) > 1
        and set(below.columns) <= set(above.columns)
        and any(_NUMBER.match(text) for text in first.values())
    )


def _says_one_thing(cells: Sequence[str]) -> bool:
    return len(set(filter(None, cells))) == 1


def _header_rows(rows: Sequence[tuple[int, Sequence[str]]], merged: Sequence[tuple[int, int, int, int]]) -> int:
    """Return how many rows the header has: two and more where cells are merged in the first of them."""
    first = rows[0][0]
    deep = wide = 1
    for top, left, bottom, right in merged:
        if top == first:
            deep = max(deep, bottom - top + 1)
            wide = max(wide, right - left + 1)
    count = max(deep, 2 if wide > 1 else 1)
    is_words = all(not _NUMBER.match(text) for _, cells in rows[1:count] for text in cells)
    return count if count < len(rows) and count <= 4 and is_words else 1  # noqa: PLR2004 (no header is deeper)
