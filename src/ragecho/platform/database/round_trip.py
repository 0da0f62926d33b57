"""Several statements to PostgreSQL and their results back, in one message each way.

A pipeline of psycopg's cursors sends every statement by itself, so the server wakes up for each and the sender looks for results
in between. Here libpq is filled first and sent then. It rests on what psycopg documents for such uses, its wrapper of libpq
(`psycopg.pq`) and the adaptation of values (`psycopg.adapt.Transformer`), and on the generators that its own cursors wait with.

All of it is one implicit transaction (reading.py), and each statement is prepared once for a connection.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import errors, generators
from psycopg.abc import PQGen, Transformer
from psycopg.adapt import PyFormat
from psycopg.adapt import Transformer as Adaptation
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

Query = tuple[TextClause, Mapping[str, Any]]
Rows = list[dict[str, Any]]

_DIALECT = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # not annotated upstream
# A statement and the types of its parameters, by which the server knows it.
_Kind = tuple[bytes, tuple[int, ...]]
# Further ones are planned each time: what is asked often is asked first.
_MOST_PREPARED = 200
_NAME = b"ragecho_%d"


class ReadingConnection(psycopg.AsyncConnection[Any]):
    """A connection of psycopg's that runs several statements in one round trip, too."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.made_at = self.used_at = time.monotonic()
        self._names: dict[_Kind, bytes] = {}
        self._names_given = 0
        self._columns: dict[bytes, tuple[str, ...]] = {}

    async def rows_of(self, queries: Sequence[Query]) -> list[Rows]:
        """Return the rows of each query, all run in one transaction; the first that fails raises what psycopg raises for it.

        With `prepare_threshold` None nothing is prepared.
        """
        return await self.wait(self._rows_of(queries))

    def _rows_of(self, queries: Sequence[Query]) -> PQGen[list[Rows]]:
        transformer: Transformer = Adaptation(self)
        self.pgconn.enter_pipeline_mode()
        try:
            preparing = [self._send(transformer, query) for query in queries]
            self.pgconn.pipeline_sync()
            yield from generators.send(self.pgconn)
            results = yield from self._results(preparing)
            yield from generators.fetch_many(self.pgconn)  # the synchronisation
        finally:
            # With results left over, the pool sees that the connection is still busy and replaces it.
            with suppress(psycopg.OperationalError):
                self.pgconn.exit_pipeline_mode()
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result)
        return [
            _loaded(transformer, result, self._columns_of(_compiled(clause)[0], result))
            for (clause, _), result in zip(queries, results, strict=True)
        ]

    def _send(self, transformer: Transformer, query: Query) -> tuple[_Kind, bytes] | None:
        """Put a query in what will be sent; return what the server knows it by from then on, where that is new."""
        clause, parameters = query
        statement, names = _compiled(clause)
        values = [parameters[name] for name in names]
        dumped = transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
        types, formats = transformer.types or (), transformer.formats
        kind = (statement, tuple(types))
        name = self._names.get(kind)
        if name is not None:
            self.pgconn.send_query_prepared(name, dumped, param_formats=formats)
            return None
        if self.prepare_threshold is None or len(self._names) >= _MOST_PREPARED:
            self.pgconn.send_query_params(statement, dumped, param_types=types, param_formats=formats)
            return None
        self._names_given += 1
        name = _NAME % self._names_given
        self.pgconn.send_prepare(name, statement, param_types=types)
        self.pgconn.send_query_prepared(name, dumped, param_formats=formats)
        return kind, name

    def _results(self, preparing: Sequence[tuple[_Kind, bytes] | None]) -> PQGen[list[PGresult]]:
        """Fetch everything, errors too: what is left would be taken for the next reader's."""
        results = []
        for prepared in preparing:
            if prepared is not None:
                (answer,) = yield from generators.fetch_many(self.pgconn)
                if answer.status == ExecStatus.COMMAND_OK:
                    kind, name = prepared
                    self._names[kind] = name
                elif answer.status == ExecStatus.FATAL_ERROR:
                    results.append(answer)
            results.extend((yield from generators.fetch_many(self.pgconn)))
        return results

    def _columns_of(self, statement: bytes, result: PGresult) -> tuple[str, ...]:
        names = self._columns.get(statement)
        if names is None or len(names) != result.nfields:
            names = tuple((result.fname(place) or b"").decode() for place in range(result.nfields))
            if len(self._columns) < _MOST_PREPARED:
                self._columns[statement] = names
        return names


@lru_cache(maxsize=256)
def _compiled(clause: TextClause) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with $1, $2 … and its parameters' names in that order."""
    compiled = clause.compile(dialect=_DIALECT)
    return str(compiled).encode(), tuple(compiled.positiontup or ())


def _loaded(transformer: Transformer, result: PGresult, names: Sequence[str]) -> Rows:
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, lambda values: dict(zip(names, values, strict=True)))
