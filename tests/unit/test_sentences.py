"""Sentence boundaries that chunking and citation checks rely on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragecho.kernel.sentences import sentence_spans


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Smith met Mr. J. R. Jones. He left.", ["Dr. Smith met Mr. J. R. Jones.", "He left."]),
        ("Use e.g. Python, i.e. 3.13. It costs 3.50 USD.", ["Use e.g. Python, i.e. 3.13.", "It costs 3.50 USD."]),
        ("Made in the U.S. Government papers say so.", ["Made in the U.S. Government papers say so."]),
        ("Made in the U.S. The papers say so.", ["Made in the U.S.", "The papers say so."]),
        ("See Fig. 3 and No. 5 of vol. 2. Done.", ["See Fig. 3 and No. 5 of vol. 2.", "Done."]),
        ("今日は晴れ。明日は雨？「はい。」そう。", ["今日は晴れ。", "明日は雨？", "「はい。」", "そう。"]),
        ('He said "Stop!" and left. "Why?" she asked.', ['He said "Stop!" and left.', '"Why?" she asked.']),
        ("A sentence\nover two lines. Next.", ["A sentence\nover two lines.", "Next."]),
        ("A heading\n\nA paragraph", ["A heading", "A paragraph"]),
        ("- first\n- second\n1. third\n2. fourth", ["- first", "- second", "1. third", "2. fourth"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |", ["| a | b |", "|---|---|", "| 1 | 2 |"]),
        (
            "It is blue [1]. It is wide.[2] It is old. [3] End.",
            ["It is blue [1].", "It is wide.[2]", "It is old. [3]", "End."],
        ),
        ("Wait... what? Well… Yes.", ["Wait... what?", "Well…", "Yes."]),
        ("Foo, bar, etc. The end.", ["Foo, bar, etc.", "The end."]),
        ("Visit example.com today. OK.", ["Visit example.com today.", "OK."]),
        ("यह है। वह है।", ["यह है।", "वह है।"]),
        ("", []),
        (" \n\t ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@given(st.text(alphabet=st.sampled_from(list("aB1 .!?\n\t。-|#[]\"')\u00a0")), max_size=200))
def test_every_visible_character_lies_in_exactly_one_span(text: str) -> None:
    spans = sentence_spans(text)
    covered = [False] * len(text)
    last = 0
    for start, end in spans:
        assert last <= start < end
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
        covered[start:end] = [True] * (end - start)
        last = end
    assert all(is_covered or char.isspace() for char, is_covered in zip(text, covered, strict=True))


@given(st.text())
def test_the_same_text_gives_the_same_spans(text: str) -> None:
    assert sentence_spans(text) == sentence_spans(text)
