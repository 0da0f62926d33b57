"""Does a provider work, and if not, what has to be changed where: as far as can be told without a person signing in."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

import httpx

from ragecho.identity.federation.discovery import Metadata
from ragecho.identity.federation.errors import Fault, FederationFailed
from ragecho.identity.federation.model import Registration
from ragecho.identity.federation.upstream import ALGORITHMS, Upstreams, usable_keys
from ragecho.kernel.errors import EchoError

# Whoever answers this code with a complaint about the code has accepted the client.
_NO_CODE = "echo-configuration-test"


class Verdict(StrEnum):
    """How one check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `text` says what was found and, where it is wrong, what to do."""

    name: str
    verdict: Verdict
    text: str


async def diagnose(upstreams: Upstreams, registration: Registration, *, redirect_uri: str) -> list[Check]:
    """Return the checks in the order of a sign-in; the first one that fails ends them where the rest needs it."""
    return [check async for check in _checks(upstreams, registration, redirect_uri)]


async def _checks(upstreams: Upstreams, registration: Registration, redirect_uri: str) -> AsyncIterator[Check]:
    try:
        metadata = await upstreams.discovery.metadata(registration.issuer, is_fresh=True)
    except FederationFailed as error:
        yield Check("discovery", Verdict.FAILED, error.hint or error.message)
        return
    yield Check("discovery", Verdict.OK, f"{registration.issuer} describes itself.")
    yield await _keys(upstreams, metadata)
    yield _pkce(metadata)
    yield await _redirect(upstreams, registration, redirect_uri)
    yield await _client(upstreams, metadata, registration, redirect_uri)


async def _keys(upstreams: Upstreams, metadata: Metadata) -> Check:
    try:
        raw = await upstreams.discovery.keys(metadata, is_fresh=True)
    except FederationFailed as error:
        return Check("keys", Verdict.FAILED, error.hint or error.message)
    accepted = [name for name in ALGORITHMS if name in metadata.id_token_algorithms]
    usable = [name for name in accepted if usable_keys(raw, name)]
    if usable:
        return Check("keys", Verdict.OK, f"ID tokens can be verified ({', '.join(usable)}).")
    return Check(
        "keys",
        Verdict.FAILED,
        f"The provider publishes no key for an accepted algorithm; it offers {', '.join(metadata.id_token_algorithms)}.",
    )


def _pkce(metadata: Metadata) -> Check:
    if metadata.pkce_methods is None:
        return Check(
            "pkce", Verdict.WARNING, "The provider does not say whether it checks PKCE; it is sent all the same."
        )
    if "S256" in metadata.pkce_methods:
        return Check("pkce", Verdict.OK, "The provider checks PKCE (S256).")
    return Check("pkce", Verdict.WARNING, "The provider does not check PKCE with S256; it is sent all the same.")


async def _redirect(upstreams: Upstreams, registration: Registration, redirect_uri: str) -> Check:
    """Ask without a person: a provider that knows the redirect URI answers there with an error."""
    try:
        url = await upstreams.authorization_url(
            registration,
            redirect_uri=redirect_uri,
            state=_NO_CODE,
            nonce=_NO_CODE,
            verifier=_NO_CODE * 2,
            prompt="none",
        )
        answer = await upstreams.send("GET", url, Fault.UNREACHABLE)
    except (FederationFailed, EchoError) as error:
        return Check("redirect_uri", Verdict.FAILED, getattr(error, "hint", "") or error.message)
    target = answer.headers.get("location", "")
    if answer.is_redirect and target.partition("?")[0] == redirect_uri:
        word = parse_qs(urlsplit(target).query).get("error", ["none"])[0][:50]
        if word in ("invalid_scope", "unauthorized_client", "unsupported_response_type"):
            return Check("redirect_uri", Verdict.FAILED, f"The provider knows the redirect URI but answers {word}.")
        return Check("redirect_uri", Verdict.OK, "The provider knows the redirect URI.")
    if answer.is_error:
        return Check(
            "redirect_uri",
            Verdict.FAILED,
            f"The provider refused the request ({answer.status_code}). Is {redirect_uri} registered there, and the client id right?",
        )
    return Check(
        "redirect_uri",
        Verdict.WARNING,
        f"The provider showed a page. Make sure that {redirect_uri} is registered there.",
    )


async def _client(upstreams: Upstreams, metadata: Metadata, registration: Registration, redirect_uri: str) -> Check:
    try:
        await upstreams.exchange(metadata, registration, _NO_CODE, redirect_uri=redirect_uri, verifier=_NO_CODE * 2)
    except FederationFailed as error:
        if error.fault is Fault.TOKEN_EXCHANGE and "invalid_grant" in error.hint:
            return Check("client", Verdict.OK, "The provider accepts the client id and secret.")
        if error.fault is Fault.CLIENT_REFUSED:
            text = "The provider refuses the client id or secret. Copy both again; a secret may have expired there."
            return Check("client", Verdict.FAILED, text)
        verdict = Verdict.FAILED if error.fault is Fault.UNREACHABLE else Verdict.WARNING
        return Check("client", verdict, error.hint or error.message)
    except httpx.HTTPError as error:
        return Check("client", Verdict.FAILED, type(error).__name__)
    return Check("client", Verdict.WARNING, "The provider took a code that does not exist.")
