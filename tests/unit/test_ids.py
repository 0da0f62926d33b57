"""Identifiers: version 7 of RFC 9562, in the order of making."""

from uuid import RFC_4122

from ragecho.kernel.ids import uuid7


def test_ids_made_one_after_the_other_are_in_order() -> None:
    made = [uuid7() for _ in range(5_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {(one.version, one.variant) for one in made} == {(7, RFC_4122)}


def test_time_and_entropy_can_be_given() -> None:
    # The example of RFC 9562, A.6.
    made = uuid7(at_ms=0x017F22E279B0, entropy=bytes.fromhex("0cc318c4dc0c0c07398f"))
    assert str(made) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
