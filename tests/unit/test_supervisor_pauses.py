"""How long a child that died is let rest."""

from ragecho.roles.supervisor import Policy, _Backoff


def test_what_dies_at_its_start_rests_longer_each_time() -> None:
    backoff = _Backoff(Policy())
    pauses = [backoff.next_delay(1.0) for _ in range(9)]
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert pauses[-1] == 30.0


def test_what_dies_at_its_work_now_and_then_is_soon_there_again() -> None:
    """A worker that is killed every fifteen seconds was down for half a minute after each death."""
    backoff = _Backoff(Policy())
    assert {backoff.next_delay(15.0) for _ in range(20)} == {0.5}
