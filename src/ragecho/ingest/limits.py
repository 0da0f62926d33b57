"""Which setting a document went past: who may change it finds it in the error."""

from types import MappingProxyType

from ragecho.kernel.errors import ParseFailed

# By the reason of a failure (engines/parsing/failures.py); the rest are the file's fault.
SETTINGS = MappingProxyType(
    {
        "too_many_pages": "RAGECHO_MAX_PAGES",
        "too_long": "RAGECHO_MAX_CHARACTERS",
        "too_many_members": "RAGECHO_MAX_ARCHIVE_FILES",
        "too_deep": "RAGECHO_MAX_ARCHIVE_DEPTH",
        "archive_ratio": "RAGECHO_MAX_ARCHIVE_RATIO",
        "archive_too_large": "RAGECHO_MAX_UNPACKED_BYTES",
        "memory_limit": "RAGECHO_PARSER_MEMORY_BYTES",
        "timeout": "RAGECHO_PARSER_SECONDS",
        "ocr_off": "RAGECHO_OCR",
    }
)


def with_setting(error: Exception) -> Exception:
    """Return the error, its `facts` with the name of the setting behind it where there is one."""
    if isinstance(error, ParseFailed) and error.reason in SETTINGS:
        error.facts = {**error.facts, "setting": SETTINGS[error.reason]}
    return error
