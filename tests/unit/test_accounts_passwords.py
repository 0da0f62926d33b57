import asyncio
import string
import unicodedata
from typing import Literal

import anyio
import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from ragecho.identity.accounts.common_passwords import is_common
from ragecho.identity.accounts.errors import PasswordRefused
from ragecho.identity.accounts.passwords import MAX_LENGTH, PasswordPolicy, Passwords, normalized
from ragecho.kernel.errors import Unavailable

POLICY = PasswordPolicy(min_length=12)
EMAIL = "ada.lovelace@example.com"
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


def reason(password: str, *, email: str = EMAIL, policy: PasswordPolicy = POLICY) -> str | None:
    try:
        policy.check(password, email=email)
    except PasswordRefused as refused:
        return str(refused.facts["reason"])
    return None


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("plover quartz mimic", None),
        ("correct horse battery staple", None),
        ("echo chamber music evening", None),
        ("日本語の長いパスワードです", None),
        ("x" * 11, "too_short"),
        ("v" * 1025, "too_long"),
        ("plover \ud800 quartz mimic", "not_text"),
        ("password1234", "common"),
        ("P4ssw0rd!2024", "common"),
        ("Dragon!!!!!!", "common"),
        ("dragondragon", "common"),
        ("letmein12345", "common"),
        ("123456789012", "common"),
        ("1qaz2wsx3edc", "common"),
        ("qwertyuiop12", "common"),
        ("aaaaaaaaaaaa", "common"),
        ("abababababab", "common"),
        ("I am ada.lovelace!", "personal"),
        ("ADA.LOVELACE-1815", "personal"),
        ("ragecho is mine", "personal"),
        ("echo echo 12", "personal"),
    ],
)
def test_the_policy_names_what_is_wrong_with_a_password(password: str, expected: str | None) -> None:
    assert reason(password) == expected


def test_what_stands_behind_a_plus_in_the_address_does_not_hide_the_name() -> None:
    assert reason("lovelace forever", email="lovelace+echo@example.com") == "personal"


def test_a_short_local_part_does_not_forbid_every_password_that_holds_it() -> None:
    assert reason("plover quartz mimic", email="mi@example.com") is None


def test_the_shortest_length_is_a_setting() -> None:
    assert reason("plover quartz mimic", policy=PasswordPolicy(min_length=20)) == "too_short"


def test_length_is_counted_after_normalisation() -> None:
    ligature = "\ufb03" * 4  # four characters, each of which means "ffi"
    assert normalized(ligature) == "ffi" * 4
    assert reason(ligature) == "common"  # twelve characters, three distinct


@given(st.text(max_size=1100), st.emails())
def test_the_policy_answers_every_text(password: str, email: str) -> None:
    refused = reason(password, email=email)
    if refused is None:
        assert POLICY.min_length <= len(normalized(password)) <= MAX_LENGTH


@given(st.text(alphabet=string.ascii_letters + string.digits + "!?. ", min_size=12, max_size=40))
def test_the_verdict_does_not_depend_on_case(password: str) -> None:
    assert reason(password) == reason(password.swapcase())


@given(st.text(max_size=200))
def test_a_password_is_normalised_once_and_for_all(password: str) -> None:
    assert normalized(normalized(password)) == normalized(password)
    assert normalized(unicodedata.normalize("NFD", password)) == normalized(password)


@given(st.sampled_from(["password", "dragon", "monkey", "sunshine"]), st.integers(0, 99999))
def test_a_common_word_with_a_number_stays_common(word: str, number: int) -> None:
    assert is_common(f"{word}{number}")
    assert is_common(f"{number}{word}")


@pytest.mark.anyio
async def test_a_hash_verifies_its_own_password_only_in_every_unicode_form() -> None:
    passwords = Passwords(hasher=CHEAP)
    stored = await passwords.hash("crème brûlée at dawn")
    assert stored.startswith("$argon2id$")
    assert await passwords.verify(stored, unicodedata.normalize("NFD", "crème brûlée at dawn")) == (True, None)
    assert await passwords.verify(stored, "creme brulee at dawn") == (False, None)


@pytest.mark.anyio
@pytest.mark.parametrize("password", ["", "\x00", "\ud800", "x" * 100_000])
async def test_nobodys_password_is_never_right(password: str) -> None:
    assert await Passwords(hasher=CHEAP).verify(None, password) == (False, None)


@pytest.mark.anyio
async def test_verifying_for_nobody_costs_a_hash_with_the_same_parameters() -> None:
    class Counting(PasswordHasher):
        seen: list[str] = []  # noqa: RUF012 - a test's counter

        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - the library's name
            self.seen.append(str(hash))
            return super().verify(hash, password)

    hasher = Counting(time_cost=2, memory_cost=128, parallelism=1)
    passwords = Passwords(hasher=hasher)
    await passwords.verify(None, "whatever it may be")
    await passwords.verify(await passwords.hash("whatever it may be"), "something else")
    of_nobody, of_somebody = hasher.seen
    assert of_nobody.split("$")[:4] == of_somebody.split("$")[:4]
    assert len(of_nobody) == len(of_somebody)
    assert not hasher.check_needs_rehash(of_nobody)


@pytest.mark.anyio
async def test_a_hash_with_other_parameters_is_made_anew_once_the_password_is_right() -> None:
    old = PasswordHasher(time_cost=2, memory_cost=128, parallelism=1).hash("plover quartz mimic")
    passwords = Passwords(hasher=CHEAP)
    is_right, renewed = await passwords.verify(old, "plover quartz mimic")
    assert is_right
    assert renewed is not None
    assert await passwords.verify(renewed, "plover quartz mimic") == (True, None)
    assert await passwords.verify(old, "plover quartz mimicry") == (False, None)


@pytest.mark.anyio
async def test_a_damaged_hash_matches_nothing() -> None:
    assert await Passwords(hasher=CHEAP).verify("not a hash", "plover quartz mimic") == (False, None)


@pytest.mark.anyio
async def test_no_more_than_the_allowed_number_of_hashes_run_at_once_and_the_queue_has_an_end() -> None:
    running, most, release = 0, 0, anyio.Event()

    class Held(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - the library's names
            nonlocal running, most
            running += 1
            most = max(most, running)
            anyio.from_thread.run(release.wait)
            running -= 1
            return True

    passwords = Passwords(concurrency=2, hasher=Held(time_cost=1, memory_cost=64, parallelism=1))
    stored = CHEAP.hash("plover quartz mimic")
    waiting = [asyncio.create_task(passwords.verify(stored, "plover quartz mimic")) for _ in range(102)]
    while running < 2 or passwords.waiting < 100:  # noqa: ASYNC110 - nothing tells how many wait
        await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await passwords.verify(stored, "plover quartz mimic")
    release.set()
    await asyncio.gather(*waiting)
    assert most == 2
