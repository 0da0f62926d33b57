from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ragecho.identity.accounts.model import Count
from ragecho.identity.accounts.throttle import (
    LONGEST_SECONDS,
    Counter,
    after_attempt,
    delay_seconds,
    network_of,
    remaining,
    sign_in_counters,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COUNTER = Counter(b"", free=5, forgives_seconds=3600)
GAPS = st.lists(st.floats(0, 100_000), max_size=60)


@given(st.floats(0, 1e6), st.integers(0, 100))
def test_the_delay_is_nothing_while_attempts_are_free_and_never_more_than_the_longest(
    failures: float, free: int
) -> None:
    delay = delay_seconds(failures, free=free)
    assert 0 <= delay <= LONGEST_SECONDS
    assert (delay == 0) == (failures <= free - 1)


@given(st.floats(0, 1000), st.floats(0, 1000), st.integers(0, 20))
def test_more_failures_never_mean_less_delay(some: float, more: float, free: int) -> None:
    assert delay_seconds(some + more, free=free) >= delay_seconds(some, free=free)


def test_the_delay_doubles() -> None:
    assert [delay_seconds(number, free=5) for number in range(4, 17)] == [
        0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900,
    ]  # fmt: skip


@given(GAPS)
def test_what_counts_never_exceeds_the_number_of_attempts_and_is_at_least_one_after_each(gaps: list[float]) -> None:
    count, now = None, NOW
    for number, gap in enumerate(gaps, start=1):
        now += timedelta(seconds=gap)
        count = after_attempt(count, now, COUNTER)
        assert 1 <= count.failures <= number
        assert count.last_at == now
        assert count.blocked_until <= now + timedelta(seconds=LONGEST_SECONDS)
        assert (count.blocked_until > now) == (count.failures > COUNTER.free - 1)


@given(st.floats(0, 1000), st.floats(0, 1e7), st.floats(0, 1e7))
def test_time_forgives_and_never_accuses(failures: float, sooner: float, later: float) -> None:
    count = Count(failures, NOW, NOW)
    first = remaining(count, NOW + timedelta(seconds=sooner), forgives_seconds=60)
    second = remaining(count, NOW + timedelta(seconds=sooner + later), forgives_seconds=60)
    assert 0 <= second <= first <= failures


def test_a_clock_that_goes_backwards_forgives_nothing() -> None:
    assert remaining(Count(3, NOW, NOW), NOW - timedelta(hours=1), forgives_seconds=60) == 3


@given(st.integers(1, 10_000))
def test_an_attacker_who_waits_out_every_delay_gets_few_guesses_a_day(offset: int) -> None:
    count, now, guesses = None, NOW, 0
    end = NOW + timedelta(days=1)
    while now < end:
        count = after_attempt(count, now, COUNTER)
        guesses += 1
        now = max(count.blocked_until, now) + timedelta(milliseconds=offset)
    assert guesses <= 140


def test_what_an_office_mistypes_in_a_day_does_not_add_up() -> None:
    office = Counter(b"", free=30, forgives_seconds=60)
    count = None
    for minute in range(0, 8 * 60, 2):
        count = after_attempt(count, NOW + timedelta(minutes=minute), office)
        assert count.blocked_until < count.last_at


def test_an_attacked_account_gives_a_newcomer_one_attempt_and_then_a_minute() -> None:
    first = after_attempt(None, NOW, COUNTER, is_attacked=True)
    assert first.blocked_until - NOW == timedelta(seconds=60)


def test_one_subscriber_is_one_address() -> None:
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of(None) == network_of("nonsense") == "unknown"


def test_a_known_browser_is_counted_for_itself_alone() -> None:
    elsewhere = {counter.key for counter in sign_in_counters("a@example.com", "192.0.2.1", device=None)}
    here = {counter.key for counter in sign_in_counters("a@example.com", "192.0.2.1", device="known")}
    assert not elsewhere & here


@given(st.text(max_size=50), st.text(max_size=50))
def test_counters_of_different_accounts_differ_and_ignore_case(one: str, other: str) -> None:
    first, second = (sign_in_counters(email, "192.0.2.1", device=None) for email in (one, other))
    is_same = one.strip().casefold() == other.strip().casefold()
    assert (first[0].key == second[0].key) == is_same or "\ud800" in one + other
    assert first[2].key == second[2].key
