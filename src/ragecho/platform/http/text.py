"""Text that PostgreSQL can store: a field type for what the body check cannot see (multipart fields, headers)."""

from typing import Annotated

from pydantic import AfterValidator


def _refuse_unstorable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("NUL characters are not allowed")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("lone surrogates are not allowed") from None
    return value


CleanText = Annotated[str, AfterValidator(_refuse_unstorable)]
"""A string without NUL characters and lone surrogates."""
