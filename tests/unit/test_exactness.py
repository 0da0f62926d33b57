"""Exact forms: what a question quotes or names letter by letter, and where it stands."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragecho.kernel.ids import ChunkId, DocumentId, VersionId, uuid7
from ragecho.kernel.passages import Passage
from ragecho.library.query.exactness import CERTAIN, LIKELY, PROBABLE, forms_of, lift, sql_pattern


def passage(text: str, *, score: float = 0.5, filename: str = "note.txt", title: str | None = None) -> Passage:
    return Passage(
        chunk_id=ChunkId(uuid7()),
        document_id=DocumentId(UUID(int=1)),
        version_id=VersionId(uuid7()),
        filename=filename,
        title=title,
        heading_path=(),
        page=None,
        start=0,
        end=len(text),
        text=text,
        content_sha256=text,
        score=score,
        scores={"fused": score},
    )


def certain(question: str) -> list[str]:
    return [form.text for form in forms_of(question) if form.bonus == CERTAIN]


@pytest.mark.parametrize(
    ("question", "forms"),
    [
        ("What does ERR_CONN-4012 mean?", ["ERR_CONN-4012"]),
        ("Preis von AB-12.34/7, bitte", ["AB-12.34/7"]),
        ("open budget_2024.xlsx", ["budget_2024.xlsx"]),
        ("what changed in v2.3.1?", ["v2.3.1"]),
        ("错误代码ERR_CONN-4012是什么意思", ["ERR_CONN-4012"]),
        ("who is std::vector for", ["std::vector"]),
        ("invoice 1004512", ["1004512"]),
        ("the K7E0421 code", ["K7E0421"]),
        ("ERR-VPN-0x2F", ["ERR-VPN-0x2F"]),
        ("sent to ann_lee@heron.example", ["ann_lee@heron.example"]),
        ("report.pdf", ["report.pdf"]),
        ('who said "to the lighthouse"?', ["to the lighthouse"]),
        ("¿quién dijo «con mucho gusto»?", ["con mucho gusto"]),
        ("wer sagte „guten Morgen“?", ["guten Morgen"]),
        ("»so ist es« steht wo?", ["so ist es"]),
        ("谁写了「红楼梦」", ["红楼梦"]),
        ("what does `make serve` do", ["make serve"]),
    ],
)
def test_identifiers_and_quotes_are_recognised_in_any_language(question: str, forms: list[str]) -> None:
    assert certain(question) == forms


@pytest.mark.parametrize(
    "question",
    [
        "How long is the notice period?",
        "What happened in 2019?",
        "a 5-year plan and a 3.5 % rise, 15kg each, the 19th of 1990s",
        "H3K79me2 after a 100-day diet, MOZ-TIF2-induced",
        "and/or, well-known, e.g. TCP/IP",
        "the heron's nest isn't there",
        "黑豹队的防守丢了多少分？",
        'an inch is written 12" here',
        "",
    ],
)
def test_ordinary_words_and_numbers_are_no_identifiers(question: str) -> None:
    assert certain(question) == []


def test_names_of_science_are_pushed_not_ruled() -> None:
    question = "Does blood of patients with COVID-19 show a rise of IL-6?"
    assert {form.text: form.bonus for form in forms_of(question)} == {"COVID-19": LIKELY, "IL-6": LIKELY}
    assert [form.bonus for form in forms_of("what is said about IL-6?")] == [PROBABLE]


def test_what_holds_the_form_comes_first_and_its_neighbours_in_number_do_not() -> None:
    other = passage("ERR_CONN-4013 means that the line is busy.", score=0.9)
    longer = passage("ERR_CONN-40121 is retired.", score=0.8)
    wanted = passage("err_conn-4012 means that the line is dead.", score=0.1)
    lifted, found = lift(forms_of("what is ERR_CONN-4012"), [other, longer, wanted])
    assert lifted[0].chunk_id == wanted.chunk_id
    assert lifted[0].scores["exact"] == 1.0
    assert "exact" not in lifted[1].scores
    assert found == {"ERR_CONN-4012": True}
    assert [one.score for one in lifted] == sorted((one.score for one in lifted), reverse=True)


@pytest.mark.parametrize(
    ("question", "text", "is_held"),
    [
        ("v 2.3.1", "since 2.3.1 it works", True),
        ("v 2.3.1", "since 2.3.1.4 it works", False),
        ("CONN-4012", "see ERR_CONN-4012", False),
        ("SL-6012", "see SL‑6012.", True),  # a hyphen that does not break
        ('"night   shift"', "the night\nshift begins", True),
        ('"night shift"', "the midnight shift", False),
        ('"Straße"', "in der STRASSE", True),
        ("AB-12.34/7", "the part AB-12.34/7, red", True),
        ("AB-12.34/7", "the part AB-12.34/70, red", False),
        ("「红楼梦」", "作者写了红楼梦一书", True),
    ],
)
def test_a_form_is_held_letter_by_letter_and_by_its_own_borders(question: str, text: str, is_held: bool) -> None:
    forms = [form for form in forms_of(question) if form.bonus == CERTAIN]
    _, found = lift(forms, [passage(text)])
    assert list(found.values()) == [is_held]


def test_the_same_code_written_otherwise_counts_half_and_is_not_called_found() -> None:
    [lifted], found = lift(forms_of("AB-12.34/7"), [passage("the part AB 12 34 7")])
    assert found == {"AB-12.34/7": False}
    assert lifted.scores["exact"] == 0.5


def test_a_file_name_is_found_in_the_documents_name() -> None:
    lifted, found = lift(
        forms_of("what does plan_b.docx say"), [passage("x", score=0.9), passage("y", filename="Plan_B.docx")]
    )
    assert lifted[0].filename == "Plan_B.docx"
    assert found == {"plan_b.docx": True}


def test_a_pattern_for_the_database_has_no_meaning_of_its_own() -> None:
    [form] = forms_of('"a.*(b) [c] \\d 100%"')
    assert sql_pattern(form) == r"a\.\*\(b\)\s+\[c\]\s+\\d\s+100\%"


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_question_is_read_without_an_error_and_holds_its_own_forms(question: str) -> None:
    forms = forms_of(question)
    if forms:
        lift(forms, [passage(question)])
    assert len(forms) <= 6


@settings(deadline=None)
@given(
    st.from_regex(r"[A-Z]{2,4}[-_][0-9]{3,6}(/[0-9]{1,3})?", fullmatch=True),
    st.sampled_from([", red", ".", "\n", " or"]),
)
def test_every_code_is_found_in_the_sentence_that_holds_it(code: str, after: str) -> None:
    forms = forms_of(f"where is {code}?")
    _, found = lift(forms, [passage(f"The part {code}{after} is here")])
    assert found[code]
