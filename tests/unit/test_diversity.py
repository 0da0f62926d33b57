"""Repetitions, documents that crowd others out, and neighbours of what was found."""

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_exactness import passage

from ragecho.kernel.ids import ChunkId, DocumentId, VersionId, uuid7
from ragecho.kernel.passages import Passage
from ragecho.library.diversity import capped, fold, spread
from ragecho.library.neighbours import MAX_CHARACTERS, Piece, joined, stretch_of
from ragecho.library.query.broad import broad_of, is_about_all, overview_of, spread_out
from ragecho.library.query.options import Expand, Scope

LONG = " ".join(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(120))


def test_a_text_that_stands_twice_makes_room_for_another() -> None:
    first, again, other = passage("same", score=0.9), passage("same", score=0.8), passage("other", score=0.7)
    kept, folded = fold([first, again, other], k=2)
    assert [one.chunk_id for one in kept] == [first.chunk_id, other.chunk_id]
    assert [(one.of, one.chunk_id) for one in folded] == [(first.chunk_id, again.chunk_id)]


def test_without_another_to_show_repetitions_stay() -> None:
    twice = [passage("same"), passage("same")]
    assert fold(twice, k=2) == (twice, [])


def test_texts_that_differ_in_a_word_are_one_and_in_a_number_two() -> None:
    one, spelled = passage(f"{LONG} colour"), passage(f"{LONG} color")
    billed, other_bill = passage(f"{LONG} invoice 1001"), passage(f"{LONG} invoice 1002")
    kept, _ = fold([one, spelled, passage("x")], k=2)
    assert len(kept) == 2
    assert kept[1].text == "x"
    assert [p.text for p in fold([billed, other_bill, passage("x")], k=2)[0]] == [billed.text, other_bill.text, "x"]


def test_overlapping_windows_of_one_document_are_one() -> None:
    one = replace(passage("a"), start=0, end=100)
    half = replace(passage("b"), version_id=one.version_id, start=40, end=140)
    edge = replace(passage("c"), version_id=one.version_id, start=90, end=190)
    kept, _ = fold([one, half, edge], k=2)
    assert [p.text for p in kept] == ["a", "c"]


def test_parts_of_one_document_are_told_apart_by_nearness_as_others_are() -> None:
    one = replace(passage(f"{LONG} colour"), start=0, end=100, scores={"vector": 0.9})
    far = replace(passage(f"{LONG} color"), version_id=one.version_id, start=200, end=300, scores={"vector": 0.8})
    near = replace(far, scores={"vector": 0.89})
    assert fold([one, far, passage("x")], k=2)[1] == []
    assert [folded.of for folded in fold([one, near, passage("x")], k=2)[1]] == [one.chunk_id]


def test_a_document_shows_no_more_than_its_share() -> None:
    many = [replace(passage(str(n)), document_id=DocumentId(UUID(int=n % 2))) for n in range(6)]
    assert [p.text for p in capped(many, 2)] == ["0", "1", "2", "3"]


def test_diversity_prefers_what_says_something_else() -> None:
    one, like, else_ = (
        passage("heron nests near water", score=1.0),
        passage("heron nests near rivers", score=0.95),
        passage("invoice payment terms", score=0.6),
    )
    assert [p.text for p in spread([one, like, else_], 2, 0.0)] == [one.text, like.text]
    assert [p.text for p in spread([one, like, else_], 2, 0.5)] == [one.text, else_.text]


@given(st.lists(st.sampled_from(["a", "b", "c d", "e f g"]), max_size=12), st.integers(1, 12), st.floats(0, 1))
def test_nothing_is_lost_or_made_up(texts: list[str], k: int, weight: float) -> None:
    passages = [passage(text, score=1 - at / 20) for at, text in enumerate(texts)]
    kept, folded = fold(passages, k=k)
    assert len(kept) >= min(k, len(passages))
    assert {p.chunk_id for p in kept} | {one.chunk_id for one in folded} == {p.chunk_id for p in passages}
    chosen = spread(kept, k, weight)
    assert len({p.chunk_id for p in chosen}) == len(chosen) == min(k, len(kept))


def pieces(*headings: str, length: int = 100) -> list[Piece]:
    return [
        Piece(ChunkId(uuid7()), at, at * length, (at + 1) * length - 2, 1 + at // 2, (), (heading,))
        for at, heading in enumerate(headings)
    ]


def test_a_section_is_what_stands_under_the_same_headings() -> None:
    found = pieces("a", "b", "b", "b", "c")
    stretch = stretch_of(found[2].id, found, Expand.SECTION)
    assert stretch is not None
    assert (stretch.start, stretch.end) == (100, 398)
    near = stretch_of(found[2].id, found, Expand.NEIGHBOURS)
    assert near is not None
    assert (near.start, near.end) == (100, 398)
    edge = stretch_of(found[0].id, found, Expand.NEIGHBOURS)
    assert edge is not None
    assert (edge.start, edge.end) == (0, 198)


def test_pages_of_a_stretch_begin_where_its_chunks_say() -> None:
    found = pieces("a", "a", "a", "a", "a")
    stretch = stretch_of(found[2].id, found, Expand.SECTION)
    assert stretch is not None
    shown = replace(passage(""), page=stretch.page, page_breaks=stretch.page_breaks)
    assert [shown.page_at(piece.start) for piece in found] == [piece.page for piece in found]


def test_a_long_section_is_cut_around_what_was_found() -> None:
    found = pieces(*["a"] * 40, length=1000)
    stretch = stretch_of(found[20].id, found, Expand.SECTION)
    assert stretch is not None
    assert stretch.start <= found[20].start <= found[20].end <= stretch.end
    assert MAX_CHARACTERS - 2_000 < stretch.end - stretch.start <= MAX_CHARACTERS


def test_passages_that_meet_are_shown_once() -> None:
    found = pieces("a", "a", "a", "a", "a", "a")
    version = VersionId(uuid7())
    hits = [
        replace(passage(str(at)), version_id=version, chunk_id=found[at].id, start=found[at].start, end=found[at].end)
        for at in (1, 3, 5)
    ]
    shown = joined(hits, [stretch_of(hit.chunk_id, found, Expand.NEIGHBOURS) for hit in hits])
    assert [one.text for one, _ in shown] == ["1"]
    stretch = shown[0][1]
    assert stretch is not None
    assert (stretch.start, stretch.end) == (0, 598)
    other = replace(hits[1], version_id=VersionId(UUID(int=9)))
    assert len(joined([hits[0], other], [stretch_of(hits[0].chunk_id, found, Expand.NEIGHBOURS), None])) == 2


def test_the_opening_and_the_beginnings_of_sections_show_a_document() -> None:
    sections = [("Intro",), ("Intro",), ("Terms",), ("Terms", "Price"), ("Terms", "Price"), ("End",), ("End",)]
    assert spread_out(sections, 3) == [0, 2, 5]
    assert spread_out(sections, 4) == [0, 2, 3, 5]
    assert spread_out([()] * 10, 5) == [0, 1, 3, 5, 7]
    assert spread_out([()] * 3, 5) == [0, 1, 2]


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=30), st.integers(1, 12))
def test_as_many_parts_are_shown_as_asked_for_the_opening_first(names: list[str], k: int) -> None:
    chosen = spread_out([(name,) for name in names], k)
    assert len(chosen) == len(set(chosen)) == min(k, len(names))
    assert chosen == sorted(chosen)
    assert not chosen or chosen[0] == 0


SUMMARIES = {
    "What is this file about?": "",
    "summarise report.pdf": "report.pdf",
    "Give me a short summary of the annual report, please": "annual report",
    "Fasse vertrag.docx kurz zusammen": "vertrag.docx",
    "Worum geht es in diesem Dokument?": "",
    "Résume-moi ce document": "",
    "¿De qué trata este documento?": "",
    "Riassumi contratto.pdf": "contratto.pdf",
    "总结一下这个文件": "",
    "这份文件讲了什么？": "",
    "о чём этот документ?": "",
}


def test_questions_about_a_whole_document_are_recognised_in_many_languages() -> None:
    for question, name in SUMMARIES.items():
        about = broad_of(question)
        assert about is not None, question
        assert about.scope is Scope.DOCUMENT
        assert is_about_all(question, name), question


def test_a_subject_makes_it_a_question_for_passages() -> None:
    assert not is_about_all("Summarise the warranty terms in report.pdf", "report.pdf")
    assert not is_about_all("what is chapter 9 about?")
    assert broad_of("How long is the notice period?") is None


def test_questions_for_documents_name_what_they_are_looked_for_by() -> None:
    topics = {
        "Which documents do I have about heat pumps?": "heat pumps",
        "list all files that mention the heron": "the heron",
        "Welche Dokumente gibt es zu Wärmepumpen?": "Wärmepumpen",
        "¿Qué documentos tenemos sobre garantías?": "garantías",
        "Quels documents avons-nous sur les garanties ?": "les garanties",
        "哪些文件提到热泵？": "热泵",
    }
    for question, topic in topics.items():
        about = broad_of(question)
        assert about is not None, question
        assert (about.scope, about.topic) == (Scope.DOCUMENTS, topic)


def test_an_overview_of_many_parts_is_one_of_fewer() -> None:
    parts = [replace(passage(str(n)), heading_path=(f"chapter {n // 3}",)) for n in range(12)]
    assert [part.text for part in overview_of(parts, 4)] == ["0", "3", "6", "9"]


def test_many_passages_are_spread_at_the_top_only() -> None:
    many = [passage(f"words number {n}", score=1 - n / 300) for n in range(250)]
    chosen = spread(many, 200, 0.5)
    assert len({p.chunk_id for p in chosen}) == 200
    assert [p.score for p in chosen[30:]] == sorted((p.score for p in chosen[30:]), reverse=True)


def test_an_empty_list_is_spread_to_nothing() -> None:
    nothing: list[Passage] = []
    assert spread(nothing, 5, 0.5) == []
