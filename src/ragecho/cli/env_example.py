"""`.env.example`: every setting with its meaning and default, made from the settings sections' field descriptions."""

import textwrap
from enum import Enum
from pathlib import Path
from typing import Any

import platformdirs
from pydantic_settings import BaseSettings

from ragecho.cli.sections import settings_sections
from ragecho.cli.settings import variable_of

_HEAD = """\
# Settings of Echo. Copy to `.env` or set them in the environment; the environment wins.
# Every line shows the default. Made by `ragecho config env-example`; check yours with `ragecho config check`.
"""


def env_example() -> str:
    """Return the text of `.env.example`, the same on every machine."""
    return _HEAD + "".join(_section(section) for section in settings_sections())


def _section(section: type[BaseSettings]) -> str:
    title = (section.__doc__ or section.__name__).strip().partition("\n")[0]
    lines = ["", *textwrap.wrap(title, 110, initial_indent="## ", subsequent_indent="## "), ""]
    for name, field in section.model_fields.items():
        lines += textwrap.wrap(field.description or "", 110, initial_indent="# ", subsequent_indent="# ")
        lines += [
            f"#{variable_of(section, name)}={_default(field.get_default(call_default_factory=True))}".rstrip(),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _default(value: Any) -> str:
    if value is None or hasattr(value, "get_secret_value"):
        return ""  # a secret has no default worth copying
    if isinstance(value, Enum | bool):
        return str(value.value if isinstance(value, Enum) else value).lower()
    if isinstance(value, Path):
        # The user's own folders differ from machine to machine; the file must not.
        cache = Path(platformdirs.user_cache_dir("ragecho"))
        return f"~/.cache/ragecho/{value.relative_to(cache)}" if value.is_relative_to(cache) else str(value)
    return ",".join(map(str, value)) if isinstance(value, tuple | list | set | frozenset) else str(value)
