import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragecho.identity.accounts import recovery, totp
from ragecho.identity.accounts.passkeys import relying_party
from ragecho.identity.accounts.text import (
    checked_email,
    checked_locale,
    checked_name,
    checked_zoneinfo,
    looked_up,
    storable,
)
from ragecho.kernel.errors import InvalidInput

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # RFC 6238, appendix B, whose codes these are (last six digits)


@pytest.mark.parametrize(
    ("seconds", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
)
def test_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    assert totp.matching_step(SECRET, code, at_seconds=seconds) == seconds // 30


@given(st.integers(0, 2**40), st.integers(-3, 3))
def test_a_code_is_good_for_the_steps_next_to_its_own(now: int, away: int) -> None:
    step = now // 30 + away
    if step < 0:
        return
    found = totp.matching_step(SECRET, pyotp.TOTP(SECRET).generate_otp(step), at_seconds=now)
    assert (found is not None) >= (abs(away) <= 1)


@pytest.mark.parametrize("code", ["", "28708", "2870822", "28708a", "٢٨٧٠٨٢", "\x00", "\ud800", "9" * 10_000])
def test_what_is_not_six_digits_is_no_code(code: str) -> None:
    assert totp.matching_step(SECRET, code, at_seconds=59) is None


def test_a_code_may_be_typed_with_a_space() -> None:
    assert totp.matching_step(SECRET, " 287 082", at_seconds=59) == 1


def test_a_setup_does_not_show_its_secret_when_it_is_logged() -> None:
    setup = totp.TotpSetup(SECRET, "otpauth://totp/x?secret=" + SECRET)
    assert SECRET not in repr(setup)


def test_recovery_codes_are_ten_different_ones_that_are_read_as_typed() -> None:
    codes = recovery.new_codes()
    assert len(set(codes)) == 10
    for code in codes:
        plain = code.replace("-", "")
        assert recovery.canonical(code) == recovery.canonical(f" {plain.upper()} ") == plain


@given(st.text(max_size=40))
def test_every_text_is_a_recovery_code_or_none(text: str) -> None:
    found = recovery.canonical(text)
    assert found is None or recovery.canonical(found) == found


def test_passkeys_need_a_name_not_an_ip_address() -> None:
    assert relying_party("https://echo.example.com/identity") == ("echo.example.com", "https://echo.example.com")
    assert relying_party("http://localhost:8000/identity") == ("localhost", "http://localhost:8000")
    assert relying_party("http://127.0.0.1:8000/identity") is None
    assert relying_party("http://[::1]:8000/identity") is None


@pytest.mark.parametrize(
    "email",
    ["ada@example.com", "ada@EXAMPLE.com", "jürgen@bücher.example", "a+b@sub.example.org", "root@localhost.test"],
)
def test_addresses_of_people_are_taken(email: str) -> None:
    assert "@" in checked_email(f" {email} ")


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "@example.com",
        "a@b@c",
        "ada@exa mple.com",
        "a\x00@example.com",
        "a\n@example.com",
        "\ud800@example.com",
        "x" * 300 + "@example.com",
        "ada@[127.0.0.1]",
    ],
)
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(InvalidInput):
        checked_email(email)


@given(st.text(max_size=400))
def test_what_clients_send_can_be_stored(value: str) -> None:
    for kept in (storable(value, 100), looked_up(value)):
        assert "\x00" not in (kept or "")
        assert isinstance((kept or "").encode(), bytes)


@pytest.mark.parametrize("name", ["a\x00b", "a\nb", "\ud800", "x" * 201])
def test_names_that_are_no_text_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        checked_name(name)


def test_profile_values_are_tags_and_zones() -> None:
    assert (checked_locale("pt_BR"), checked_locale(" "), checked_locale(None)) == ("pt-BR", None, None)
    assert checked_zoneinfo("Europe/Berlin") == "Europe/Berlin"
    for check, value in ((checked_locale, "de\x00"), (checked_locale, "<script>"), (checked_zoneinfo, "../etc/passwd")):
        with pytest.raises(InvalidInput):
            check(value)
