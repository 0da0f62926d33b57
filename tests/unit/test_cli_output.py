"""What the command line prints, and what it keeps from a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragecho.cli.output import _fitting, counted, human_size, printable, short_time, show_table


@given(st.text())
def test_no_control_character_but_newline_and_tab_is_printed(text):
    shown = printable(text)
    assert all(character in "\n\t" or unicodedata.category(character) != "Cc" for character in shown)


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs"))))
def test_ordinary_text_is_printed_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("room", "shown"),
    [
        (200, ["ID", "FILE", "PAGES", "TAGS"]),
        (75, ["ID", "FILE", "PAGES"]),
        (60, ["ID", "FILE"]),
        (10, ["ID", "FILE"]),
    ],
)
def test_a_narrow_terminal_gives_up_the_less_important_columns(room, shown):
    widths = {"ID": 36, "FILE": 40, "PAGES": 5, "TAGS": 12}
    assert _fitting(widths, "FILE", ("TAGS", "PAGES"), room) == shown


def test_elsewhere_than_on_a_terminal_nothing_is_cut(capsys):
    show_table(("ID", "FILE"), [("1", "x" * 300), ("22", "two\nlines")], empty="none", flexible="FILE")
    assert capsys.readouterr().out == f"ID  FILE\n1   {'x' * 300}\n22  two lines\n"


def test_sizes_times_and_counts_read_well():
    assert [human_size(size) for size in (None, 0, 1023, 1536, 5 * 1024**3)] == [
        None, "0 B", "1023 B", "1.5 KiB", "5.0 GiB",
    ]  # fmt: skip
    assert short_time("2026-11-21T04:00:00Z")[:8] == "2026-11-"
    assert short_time("yesterday") == "yesterday"
    assert (counted(1, "page"), counted(2, "page")) == ("1 page", "2 pages")
