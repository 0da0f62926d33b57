"""What must never reach a log: credentials wherever they stand, and content that exceptions quote.

Two nets. `redact_fields` hides values whose *name* says that they are secret; `redact_text` runs over the finished
line and hides what *looks* like a credential (a header, an API key, a password in a URL), whatever field it is in.
"""

import re
import traceback
from collections.abc import Mapping

HIDDEN = "[redacted]"

_SECRET_NAMES = frozenset(
    {"authorization", "proxy_authorization", "cookie", "set_cookie", "x_api_key", "api_key", "apikey", "password"}
    | {"passwd", "passphrase", "secret", "token", "credential", "credentials", "client_secret", "private_key"}
    | {"signing_key", "code_verifier", "csrf"}
)
_SECRET_ENDINGS = ("_password", "_secret", "_token", "_api_key", "_private_key", "_cookie")

_LOOKS_SECRET = re.compile(
    # Echo's own keys, then other makers' well-known key forms
    r"(?P<key>\b(?:rk_|echo_[A-Za-z0-9]{4,}_)[A-Za-z0-9_-]{12,}|\b(?:sk|pk|rk|whsec)[-_][A-Za-z0-9_-]{16,})"
    r"|(?P<jwt>\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"
    r"|(?P<scheme>\b(?:[Bb]earer|[Bb]asic|BEARER|BASIC)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<url>://[^\s:/@\"'\\]*:)[^\s/@\"'\\]+(?=@)"
    r"|(?P<pair>\b(?:[Pp]assword|[Pp]asswd|pwd|[a-z_]*secret|api_?key|access_token|refresh_token|id_token"
    r"|[Xx]-[Aa][Pp][Ii]-[Kk]ey)(?:=|: ?|%3D))[^\s&;,\"'\\\]}]+"
)
# Each alternative above contains one of these: looking for them first makes the ordinary line 20 times cheaper.
_HINTS: tuple[str, ...] = (
    "echo_",
    "rk_",
    "rk-",
    "sk_",
    "sk-",
    "pk_",
    "pk-",
    "whsec",
    "eyJ",
    "earer",
    "EARER",
    "asic",
    "ASIC",
    "://",
)
_HINTS += ("assw", "pwd", "secret", "api_key", "apikey", "-key", "-Key", "s_token", "h_token", "d_token")
# What SQLAlchemy and pydantic append to messages: the values, which are people's content.
_QUOTED_VALUES = re.compile(r"\[parameters: .*?\](?=\n|$)|input_value=.*?(?=, input_type=)", re.DOTALL)


def _replacement(match: re.Match[str]) -> str:
    kept = match["scheme"] or match["url"] or match["pair"] or ""
    return kept + HIDDEN


def redact_text(text: str) -> str:
    """Return `text` with everything that looks like a credential replaced."""
    if not any(hint in text for hint in _HINTS):
        return text
    return _LOOKS_SECRET.sub(_replacement, text)


def is_secret_name(name: str) -> bool:
    """Say whether a field of this name holds a secret. `input_tokens` does not; `refresh_token` does."""
    lowered = name.lower().replace("-", "_")
    return lowered in _SECRET_NAMES or lowered.endswith(_SECRET_ENDINGS)


def redact_fields(value: object) -> object:
    """Return `value` with the values of secret names replaced, in nested mappings and lists too."""
    if isinstance(value, Mapping):
        return {k: HIDDEN if is_secret_name(str(k)) else redact_fields(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_fields(item) for item in value]
    return value


def safe_message(error: BaseException) -> str:
    """Return what `error` says without the values it quotes (rows, bodies, parameters)."""
    errors = getattr(error, "errors", None)
    if callable(errors) and hasattr(error, "__module__") and type(error).__name__.endswith("ValidationError"):
        places = [f"{'.'.join(str(p) for p in item['loc'])}: {item['type']}" for item in errors()[:20]]
        return "; ".join(places)
    original = getattr(error, "orig", None)
    if isinstance(original, BaseException) and hasattr(error, "hide_parameters"):
        return f"({type(original).__name__}) {safe_message(original)}"
    diagnosis = getattr(error, "diag", None)
    if diagnosis is not None and getattr(error, "sqlstate", None):
        # psycopg's full text has DETAIL and CONTEXT, which quote the row and the parameters.
        return f"{diagnosis.message_primary} (SQLSTATE {getattr(error, 'sqlstate', '')})"
    return _QUOTED_VALUES.sub(HIDDEN, str(error))


def format_exception(error: BaseException) -> str:
    """Return the traceback of `error` and its causes, oldest first, with safe messages and no local values."""
    chain: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = "".join(traceback.format_tb(current.__traceback__))
        members = current.exceptions if isinstance(current, BaseExceptionGroup) else ()
        inner = "".join("\n" + format_exception(member) for member in members)
        chain.append(f"{frames}{type(current).__module__}.{type(current).__name__}: {safe_message(current)}{inner}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n\nled to:\n\n".join(reversed(chain))
