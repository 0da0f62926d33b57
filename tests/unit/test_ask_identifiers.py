"""Codes and part numbers in questions are taken literally."""

import pytest

from ragecho.ask.identifiers import holds, identifiers_of


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What does the slit lamp SL-60 weigh?", {"sl60"}),
        ("What does K7-E042 mean?", {"k7e042"}),
        ("ERR-VPN-0x2F", {"errvpn0x2f"}),
        ("When is invoice LO-2025-1190 payable?", {"lo20251190"}),
        ("What changed on the 19th of May 2025?", set()),
        ("How much is 15kg, or 1,500 euros, under the 2025 rules?", set()),
        ("Is this in the top-10 of under-18 teams?", set()),
        ("Does Win10 or Art.6 matter?", set()),
        ("Was ist die Frist nach §4 BGB?", set()),
    ],
)
def test_identifiers_are_capitals_with_digits_and_not_amounts_or_years(question: str, expected: set[str]) -> None:
    assert identifiers_of(question) == expected


@pytest.mark.parametrize(
    ("text", "is_held"),
    [
        ("The slit lamp SL-60 weighs 4 kg.", True),
        ("(SL60)", True),
        ("the SL 60, new in 2025", True),
        ("sl-60", True),
        ("The slit lamp SL-40 weighs 4 kg.", False),
        ("SL-600 is another one", False),
    ],
)
def test_a_text_holds_an_identifier_whatever_its_hyphens_but_not_a_longer_one(text: str, is_held: bool) -> None:
    assert holds(text, {"sl60"}) is is_held
