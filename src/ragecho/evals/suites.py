"""Suites in BEIR layout: corpus.jsonl, queries.jsonl, qrels.tsv, meta.json. Some, `PACKAGED`, are part of the package.

For permissions a document may carry `access` and a question `metadata.as`: who asks.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from ragecho.kernel.errors import InvalidInput

SMOKE = "smoke"
PERMISSIONS = "permissions"
PACKAGED = (SMOKE, PERMISSIONS)
ALL = "all"
READERS = ("internal", "external")
ACCESS = ("private", "workspace", "internal", "external")
FILES = ("corpus.jsonl", "queries.jsonl", "qrels.tsv")


@dataclass(frozen=True, slots=True)
class SuiteDocument:
    """One document of the corpus; `title` may be empty. `access` is one of `ACCESS`."""

    id: str
    title: str
    text: str
    access: str = "workspace"


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `is_answerable` is None where the suite does not say whether its corpus holds the answer.

    `reader` is who asks, one of `READERS`.
    """

    id: str
    text: str
    is_answerable: bool | None = None
    reader: str = "internal"


@dataclass(frozen=True, slots=True)
class Suite:
    """Documents, questions, and which documents answer which question: `relevant[question][document] = grade`."""

    name: str
    documents: tuple[SuiteDocument, ...]
    questions: tuple[Question, ...]
    relevant: dict[str, dict[str, int]]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> tuple[Question, ...]:
        """Questions with at least one relevant document: ranking is measured on these."""
        return tuple(question for question in self.questions if self.relevant.get(question.id))

    @property
    def has_permissions(self) -> bool:
        """Whether some documents are not for everybody who asks."""
        return any(document.access != "workspace" for document in self.documents)

    def hidden_from(self, reader: str) -> frozenset[str]:
        """Return the documents that `reader` must never see."""
        seen = {"internal": {"workspace", "internal", "external"}, "external": {"external"}}[reader]
        return frozenset(document.id for document in self.documents if document.access not in seen)

    @property
    def has_unanswerable(self) -> bool:
        """Whether refusals can be measured."""
        return any(question.is_answerable is False for question in self.questions)


def suite_names(names: Sequence[str], data_dir: Path | None) -> list[str]:
    """Return the names, each once; `all` stands for those of the package and of the folder."""
    there = [] if data_dir is None else sorted(one.name for one in data_dir.iterdir() if (one / FILES[0]).is_file())
    every = [*PACKAGED, *there]
    return list(dict.fromkeys(each for name in names for each in (every if name == ALL else [name])))


def load_suite(name: str, data_dir: Path | None) -> Suite:
    """Return a suite, complete and consistent. Raises `InvalidInput` naming the file and line that is wrong."""
    if name in PACKAGED:
        return read_suite(name, files("ragecho.evals") / name)
    if data_dir is None:
        raise InvalidInput(
            f"The suite '{name}' is not part of the package: name the folder that holds it with --data or"
            " RAGECHO_EVAL_DATA."
        )
    folder = data_dir / name
    if not folder.is_dir():
        there = ", ".join(
            sorted(entry.name for entry in data_dir.iterdir() if (entry / FILES[0]).is_file()) or ["none"]
        )
        raise InvalidInput(f"There is no suite '{name}' in {data_dir}; there are: {there}.")
    return read_suite(name, folder)


def read_suite(name: str, folder: Traversable) -> Suite:
    """Return the suite in `folder`. Raises `InvalidInput`."""
    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        raise InvalidInput(f"The suite '{name}' lacks {', '.join(missing)}.")
    meta = _json(f"{name}/meta.json", 1, (folder / "meta.json").read_text()) if (folder / "meta.json").is_file() else {}
    documents = tuple(_documents(name, folder))
    questions = tuple(_questions(name, folder))
    return Suite(name, documents, questions, _judgements(name, folder, documents, questions), meta)


def _documents(name: str, folder: Traversable) -> Iterator[SuiteDocument]:
    seen: set[str] = set()
    for where, row in _rows(name, folder, "corpus.jsonl"):
        access = _one_of(where, row.get("access", "workspace"), "access", ACCESS)
        document = SuiteDocument(
            _text(where, row, "_id"), str(row.get("title") or ""), _text(where, row, "text"), access
        )
        _once(where, document.id, seen)
        yield document


def _questions(name: str, folder: Traversable) -> Iterator[Question]:
    seen: set[str] = set()
    for where, row in _rows(name, folder, "queries.jsonl"):
        metadata = row.get("metadata") or {}
        answerable = metadata.get("answerable") if isinstance(metadata, dict) else None
        if answerable is not None and not isinstance(answerable, bool):
            raise InvalidInput(f"{where}: metadata.answerable is neither true nor false.")
        asks = metadata.get("as", "internal") if isinstance(metadata, dict) else "internal"
        reader = _one_of(where, asks, "metadata.as", READERS)
        question = Question(_text(where, row, "_id"), _text(where, row, "text"), answerable, reader)
        _once(where, question.id, seen)
        yield question


def _judgements(
    name: str, folder: Traversable, documents: tuple[SuiteDocument, ...], questions: tuple[Question, ...]
) -> dict[str, dict[str, int]]:
    known_documents = {document.id for document in documents}
    known_questions = {question.id for question in questions}
    relevant: dict[str, dict[str, int]] = {}
    lines = (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines[1:], start=2):
        where = f"{name}/qrels.tsv:{number}"
        parts = line.split("\t")
        if len(parts) != 3 or not parts[2].strip().lstrip("-").isdigit():  # noqa: PLR2004 - question, document, grade
            raise InvalidInput(f"{where}: expected query-id, corpus-id and a whole number, separated by tabs.")
        question, document, grade = parts[0], parts[1], int(parts[2])
        if question not in known_questions:
            raise InvalidInput(f"{where}: there is no question '{question}'.")
        if document not in known_documents:
            raise InvalidInput(f"{where}: there is no document '{document}'.")
        if grade > 0:
            relevant.setdefault(question, {})[document] = grade
    if not relevant:
        raise InvalidInput(f"{name}/qrels.tsv: not one question has a relevant document.")
    unanswerable = {question.id for question in questions if question.is_answerable is False}
    contradicted = sorted(unanswerable & set(relevant))
    if contradicted:
        raise InvalidInput(f"{name}: the question '{contradicted[0]}' is unanswerable but has a relevant document.")
    return relevant


def _rows(name: str, folder: Traversable, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with (folder / file).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{name}/{file}:{number}", _json(f"{name}/{file}", number, line)


def _json(file: str, number: int, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{file}:{number}: not valid JSON.") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{file}:{number}: expected a JSON object.")
    return value


def _text(where: str, row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{where}: '{name}' is missing or empty.")
    return value


def _one_of(where: str, value: object, name: str, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise InvalidInput(f"{where}: '{name}' is none of {', '.join(known)}.")
    return value


def _once(where: str, identifier: str, seen: set[str]) -> None:
    if identifier in seen:
        raise InvalidInput(f"{where}: '{identifier}' stands there twice.")
    seen.add(identifier)
