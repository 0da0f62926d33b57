"""Suites: the packaged one is sound; a wrong one is refused with the place that is wrong."""

import json
from pathlib import Path

import pytest

from ragecho.evals.suites import load_suite, suite_names
from ragecho.kernel.errors import InvalidInput

GOOD = {
    "corpus.jsonl": '{"_id": "d1", "title": "T", "text": "one"}\n{"_id": "d2", "text": "two"}\n',
    "queries.jsonl": '{"_id": "q1", "text": "one?"}\n\n{"_id": "q2", "text": "nine?", "metadata": {"answerable": false}}\n',
    "qrels.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n",
    "meta.json": '{"name": "x"}',
}


def folder(tmp_path: Path, **changes: str | None) -> Path:
    made = tmp_path / "x"
    made.mkdir()
    for name, content in (GOOD | {key.replace("__", "."): value for key, value in changes.items()}).items():
        if content is not None:
            (made / name).write_text(content)
    return tmp_path


def test_a_suite_is_read_whole(tmp_path: Path) -> None:
    suite = load_suite("x", folder(tmp_path))

    assert [(d.id, d.title, d.text) for d in suite.documents] == [("d1", "T", "one"), ("d2", "", "two")]
    assert [(q.id, q.is_answerable) for q in suite.questions] == [("q1", None), ("q2", False)]
    assert suite.relevant == {"q1": {"d1": 1}}
    assert [question.id for question in suite.judged] == ["q1"]
    assert suite.has_unanswerable
    assert suite.meta == {"name": "x"}


@pytest.mark.parametrize(
    ("file", "content", "place"),
    [
        ("corpus.jsonl", '{"_id": "d1", "text": "one"}\nnonsense\n', "x/corpus.jsonl:2: not valid JSON"),
        ("corpus.jsonl", "[1]\n", "x/corpus.jsonl:1: expected a JSON object"),
        ("corpus.jsonl", '{"_id": "d1", "text": ""}\n', "x/corpus.jsonl:1: 'text' is missing"),
        ("corpus.jsonl", '{"_id": "d1", "text": "a"}\n{"_id": "d1", "text": "b"}\n', "x/corpus.jsonl:2: 'd1' stands"),
        ("queries.jsonl", '{"text": "one?"}\n', "x/queries.jsonl:1: '_id' is missing"),
        ("queries.jsonl", '{"_id": "q1", "text": "?", "metadata": {"answerable": "no"}}\n', "neither true nor false"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1 d1 1\n", "x/qrels.tsv:2: expected"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq9\td1\t1\n", "x/qrels.tsv:2: there is no question 'q9'"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\td9\t1\n", "x/qrels.tsv:2: there is no document 'd9'"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t0\n", "not one question"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td1\t1\n", "'q2' is unanswerable but"),
        ("meta.json", "{", "x/meta.json:1: not valid JSON"),
        ("corpus.jsonl", None, "lacks corpus.jsonl"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path: Path, file: str, content: str | None, place: str) -> None:
    data = folder(tmp_path, **{file.replace(".", "__"): content})

    with pytest.raises(InvalidInput) as raised:
        load_suite("x", data)

    assert place in raised.value.message


def test_an_unknown_suite_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there are: x"):
        load_suite("y", folder(tmp_path))


def test_without_a_data_folder_the_message_names_the_option() -> None:
    with pytest.raises(InvalidInput, match="--data"):
        load_suite("scifact", None)


def test_the_packaged_suite_has_answerable_and_unanswerable_questions() -> None:
    suite = load_suite("smoke", None)

    assert len(suite.documents) >= 40
    assert len(suite.judged) >= 40
    assert sum(question.is_answerable is False for question in suite.questions) >= 10
    assert all(question.is_answerable is not None for question in suite.questions)
    assert {q.id for q in suite.judged} == {q.id for q in suite.questions if q.is_answerable}
    assert json.dumps(suite.meta)


def test_all_stands_for_the_suites_of_the_package_and_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "corpus.jsonl").touch()
    assert suite_names(["all", "smoke"], tmp_path) == ["smoke", "permissions", "mine"]
    assert suite_names(["mine", "mine"], tmp_path) == ["mine"]
    assert suite_names(["all"], None) == ["smoke", "permissions"]


def test_the_permissions_suite_says_what_a_guest_must_never_see() -> None:
    suite = load_suite("permissions", None)
    hidden = suite.hidden_from("external")
    assert suite.hidden_from("internal") < hidden
    for question in suite.questions:
        assert suite.hidden_from(question.reader).isdisjoint(suite.relevant.get(question.id, {}))
