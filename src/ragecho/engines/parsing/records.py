"""JSON, JSON Lines and notebooks: what a person would read of them. Lists of objects are tables."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from ragecho.engines.parsing.build import DocumentBuilder, tables
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.markdown import read_markdown
from ragecho.kernel.parsed import BlockKind

_DEEPEST = 60
_MOST_COLUMNS = 40
_SCALARS = (str, int, float, bool, type(None))
_LINES_TOGETHER = 40


def read_json(builder: DocumentBuilder, text: str) -> None:
    """Add the blocks of a JSON document; a Jupyter notebook's are those of its cells. Raises `ParseFailed`."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        read_json_lines(builder, text)
        return
    if isinstance(value, dict) and isinstance(value.get("cells"), list) and "nbformat" in value:
        _read_notebook(builder, value["cells"])
        return
    if isinstance(value, dict) and isinstance(value.get("title"), str):
        builder.describe(title=value["title"])
    _Records(builder).read(value, (), 0)


def read_json_lines(builder: DocumentBuilder, text: str) -> None:
    """Add the blocks of a file with one JSON value per line; lines that are none are left out with a warning."""
    values, wrong = [], 0
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            values.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            wrong += 1
    if not values or wrong > len(values):
        raise failure("damaged")
    if wrong:
        builder.warn(f"{wrong} lines are not JSON and were left out.")
    _Records(builder).read(values, (), 0)


class _Records:
    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._lines: list[str] = []

    def read(self, value: Any, path: tuple[str, ...], depth: int) -> None:
        """Add a value; `path` names the way to it."""
        self._walk(value, path, depth)
        self._flush()

    def _walk(self, value: Any, path: tuple[str, ...], depth: int) -> None:
        if depth > _DEEPEST:
            raise failure("damaged")
        if isinstance(value, _SCALARS):
            self._line(path, value)
        elif isinstance(value, dict):
            self._object(value, path, depth)
        elif rows := _table(value):
            self._flush()
            if path:
                self._builder.add(BlockKind.PARAGRAPH, " › ".join(path))
            for table in tables(rows):
                self._builder.add(BlockKind.TABLE, table)
        else:
            self._list(value, path, depth)

    def _object(self, value: dict[str, Any], path: tuple[str, ...], depth: int) -> None:
        for name, one in value.items():
            self._walk(one, (*path, name), depth + 1)
            if depth == 0 and not isinstance(one, _SCALARS):
                self._flush()

    def _list(self, value: Sequence[Any], path: tuple[str, ...], depth: int) -> None:
        if value and all(isinstance(one, _SCALARS) for one in value):
            self._line(path, ", ".join(_shown(one) for one in value))
            return
        for one in value:
            self._walk(one, path, depth + 1)
            self._flush()

    def _line(self, path: tuple[str, ...], value: object) -> None:
        shown = _shown(value)
        if shown.strip():
            self._lines.append(f"{' › '.join(path)}: {shown}" if path else shown)
        if len(self._lines) >= _LINES_TOGETHER:
            self._flush()

    def _flush(self) -> None:
        self._builder.add(BlockKind.PARAGRAPH, "\n".join(self._lines))
        self._lines = []


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _table(values: Sequence[Any]) -> list[list[str]]:
    """Return the rows of a list of flat objects, names first; [] when it is none."""
    if len(values) < 2 or not all(isinstance(one, dict) for one in values):  # noqa: PLR2004 (one is no list)
        return []
    names = list(dict.fromkeys(name for one in values for name in one))
    if not 1 < len(names) <= _MOST_COLUMNS or not all(_is_flat(one) for one in values):
        return []
    return [names, *([_cell(one.get(name)) for name in names] for one in values)]


def _is_flat(one: dict[str, Any]) -> bool:
    return all(
        isinstance(value, _SCALARS) or (isinstance(value, list) and all(isinstance(item, _SCALARS) for item in value))
        for value in one.values()
    )


def _cell(value: Any) -> str:
    return ", ".join(map(_shown, value)) if isinstance(value, list) else _shown(value)


def _read_notebook(builder: DocumentBuilder, cells: Sequence[Any]) -> None:
    for cell in cells:
        source = _joined(cell.get("source")) if isinstance(cell, dict) else ""
        if not source.strip():
            continue
        if cell.get("cell_type") == "markdown":
            read_markdown(builder, source)
        else:
            builder.add(BlockKind.CODE if cell.get("cell_type") == "code" else BlockKind.PARAGRAPH, source)
        for output in _outputs(cell):
            builder.add(BlockKind.CODE, output)


def _outputs(cell: dict[str, Any]) -> Iterator[str]:
    for output in cell.get("outputs") or ():
        if isinstance(output, dict):
            data = output.get("data")
            yield _joined(output.get("text") or (data.get("text/plain") if isinstance(data, dict) else None))


def _joined(lines: object) -> str:
    return "".join(map(str, lines)) if isinstance(lines, list) else lines if isinstance(lines, str) else ""
