"""Questions that ask for several things: each part has its own evidence and its own quote."""

import pytest
from tests.unit.test_ask_flow import LEAVE, NOTICE
from tests.unit.test_ask_understanding import Library, ask, flow_of

from ragecho.ask.steps.parts import parts_of
from ragecho.library.query.queries import Query, Way

TWO = "How long is the notice period for permanent employees, and how many days is annual leave?"


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        (
            "How much does the crane carry, and when does the ferry leave?",
            ("How much does the crane carry?", "When does the ferry leave?"),
        ),
        (
            "What colour is the quay lamp? Where is the old weir?",
            ("What colour is the quay lamp?", "Where is the old weir?"),
        ),
        (
            "Tell me who keeps the herons and what the weir keeper earns",
            ("Tell me who keeps the herons?", "What the weir keeper earns?"),
        ),
        ("Who wrote the report, and when?", ()),
        ("When and where was the heron keeper born?", ()),
        ("What does G-20 cost and what is its warranty period?", ()),
        ("What is the difference between the crane and the ferry?", ()),
        ("Which of the two, the crane or the ferry, and how?", ()),
        ("Wie lang ist die Frist und wann öffnet die Kantine?", ()),
        ("a", ()),
        (" and ".join(["what colour is the quay lamp"] * 4), ()),
    ],
)
def test_parts_are_only_what_stands_alone(question: str, parts: tuple[str, ...]) -> None:
    assert parts_of(question) == parts


def test_each_part_is_searched_and_has_a_cited_sentence() -> None:
    library = Library(NOTICE, LEAVE)
    answer = ask(flow_of(library), TWO)
    assert "three months" in answer.text
    assert "30 days" in answer.text
    assert {citation.document_id for citation in answer.citations} == {NOTICE.document_id, LEAVE.document_id}
    assert all(citation.is_verified for citation in answer.citations)
    assert answer.queries[0] == Query(TWO)
    assert [query.way for query in answer.queries[1:]] == [Way.DECOMPOSE, Way.DECOMPOSE]
    together = tuple(query.text for query in answer.queries)
    assert library.asked == [together, *((part,) for part in together[1:])], "together to answer, each to be judged"


def test_a_part_that_the_documents_do_not_answer_is_left_out_and_told_of() -> None:
    question = "How long is the notice period for permanent employees, and who won the football world cup in 1954?"
    answer = ask(flow_of(Library(NOTICE, LEAVE)), question)
    assert "three months" in answer.text
    assert answer.warnings == ("part_unanswered:2",)


def test_a_question_none_of_whose_parts_is_answered_is_refused() -> None:
    question = "Who won the football world cup in 1954, and where was the opera house of Sydney designed?"
    assert ask(flow_of(Library(NOTICE, LEAVE)), question).is_refused


def test_a_question_that_is_to_be_searched_as_it_is_is_taken_whole() -> None:
    library = Library(NOTICE, LEAVE)
    ask(flow_of(library), TWO, is_rewritten=False)
    assert library.asked == [(TWO,)]
