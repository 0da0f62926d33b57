"""Slips of the pen: what a word was perhaps meant to be, by what was found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragecho.library.query.typos import corrected, distance, edits, meant, missing_words

FOUND = "you receive the parliament's (exclusive) maintenance schedule in lübeck; restated values are related."


@pytest.mark.parametrize(
    ("word", "meant_word"),
    [
        ("recieve", "receive"),
        ("maintainance", "maintenance"),
        ("exlcusive", "exclusive"),
        ("elclusive", "exclusive"),
        ("Lubeck", "lübeck"),
        ("shcedule", "schedule"),
    ],
)
def test_a_slip_leads_to_the_word_that_was_meant(word: str, meant_word: str) -> None:
    assert missing_words(f"when do we {word} it", FOUND) == [word]
    assert meant([word], FOUND) == {word: meant_word}


@pytest.mark.parametrize("word", ["received", "parliaments", "scheduled", "their", "heron", "2024x", "ERR_CONN-4012"])
def test_other_forms_known_words_and_codes_are_no_slips(word: str) -> None:
    assert meant(missing_words(f"what of {word}", FOUND, beside=["ERR_CONN-4012"]), FOUND) == {}


def test_beginnings_and_endings_are_grammar() -> None:
    assert meant(["rebranded", "reactors"], "the branded shirt of the reactor") == {}


def test_what_is_quoted_is_left_as_it_is() -> None:
    assert missing_words('who says "recieve"', FOUND, beside=["recieve"]) == []


def test_only_the_word_itself_is_replaced() -> None:
    assert corrected("recieve, recieved? Recieve", {"recieve": "receive"}) == "receive, recieved? Recieve"


def test_scripts_without_spaces_are_left_alone() -> None:
    assert missing_words("黑豹队的防守丢了多少分", "黑豹队") == []


words = st.text(alphabet="abcé", max_size=7)


@given(st.text(alphabet="abcü", min_size=3, max_size=8))
def test_the_words_one_slip_away_are_one_slip_away(word: str) -> None:
    found = edits(word)
    assert word not in found
    assert len(found) == len(set(found))
    assert all(distance(word, other, 3) == 1 for other in found)


def test_slips_stay_within_a_script() -> None:
    assert "почта" in edits("почтa".replace("a", "")) + edits("почто")
    assert not any("a" <= char <= "z" for word in edits("почта") for char in word)


@given(words, words)
def test_the_distance_is_symmetric_and_zero_for_equals_only(one: str, other: str) -> None:
    assert distance(one, other, 9) == distance(other, one, 9)
    assert (distance(one, other, 9) == 0) == (one == other)


@given(words, words, st.integers(0, 3))
def test_a_limit_only_cuts_off(one: str, other: str, limit: int) -> None:
    assert distance(one, other, limit) == min(distance(one, other, 20), limit + 1)


@given(st.text(alphabet="abcdef", min_size=4, max_size=9), st.integers(0, 7))
def test_two_letters_in_each_others_place_are_one_slip(word: str, at: int) -> None:
    at %= len(word) - 1
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    assert distance(word, swapped, 5) <= 1
