"""The scopes that tokens may carry: OpenID Connect's, and those of Echo's API from the one authorization table."""

from ragecho.kernel.authorization import RULES, Permission, Scope

IDENTITY_SCOPES = ("openid", "profile", "email", "address", "phone", "offline_access")
API_SCOPES = (*(str(scope) for scope in Scope), *(str(permission) for permission in Permission))
KNOWN_SCOPES = frozenset((*IDENTITY_SCOPES, *API_SCOPES))

_MEANINGS = {
    "openid": "Know who you are",
    "profile": "See your name and language",
    "email": "See your e-mail address",
    "address": "See your postal address",
    "phone": "See your telephone number",
    "offline_access": "Stay signed in for you when you are away",
    "read": "Read everything that you may read",
    "write": "Upload and change what you may change",
    "admin": "Administer what you may administer",
}


def meaning_of(scope: str) -> str:
    """Return in words what a scope allows, for consent pages and documentation."""
    if scope in _MEANINGS:
        return _MEANINGS[scope]
    try:
        does = RULES[Permission(scope)].does
    except (ValueError, KeyError):
        return scope
    return does[:1].upper() + does[1:]
