"""Write docs/reference/settings.md from the settings classes: `python scripts/generate_settings_reference.py`."""

from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from ragecho.cli.env_example import _default as default_text  # one way of writing a default, here and in `.env.example`
from ragecho.cli.sections import settings_sections
from ragecho.cli.settings import variable_of

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"

HEAD = """\
# Settings

<!-- Made by scripts/generate_settings_reference.py; a test holds it equal to the settings classes. -->

Settings are environment variables, or lines of a `.env` file in the current folder; the environment wins. `.env.example` has them
all to copy from. `ragecho config check` says what is wrong with yours and never prints a value.

A few variables steer one run and are no settings: `RAGECHO_DEBUG=1` shows tracebacks on the command line,
`RAGECHO_MODELS_OFFLINE=1` keeps model fetching off the network, and `NO_COLOR=1` turns colours off.
"""

_LIMITS = ((Ge, "ge", "at least"), (Gt, "gt", "above"), (Le, "le", "at most"), (Lt, "lt", "below"))


def reference() -> str:
    """Return the text of the reference."""
    return HEAD + "".join(_section(section) for section in settings_sections())


def _section(section: type[BaseSettings]) -> str:
    title = (section.__doc__ or section.__name__).strip().partition("\n")[0].rstrip(".")
    lines = ["", f"## {section.__name__.removesuffix('Settings') or 'Shared'}", "", f"{title}.", ""]
    lines += ["| variable | default | meaning |", "| --- | --- | --- |"]
    lines += [_row(variable_of(section, name), field) for name, field in section.model_fields.items()]
    return "\n".join(lines) + "\n"


def _row(variable: str, field: FieldInfo) -> str:
    default = default_text(field.get_default(call_default_factory=True))
    meaning = " ".join(filter(None, [field.description, _limits(field.metadata)]))
    return f"| `{variable}` | {f'`{default}`' if default else '—'} | {meaning.replace('|', chr(92) + '|')} |"


def _limits(metadata: list[Any]) -> str:
    found = [
        f"{words} {getattr(item, name):,}".replace(",", " ")
        for kind, name, words in _LIMITS
        for item in metadata
        if isinstance(item, kind)
    ]
    return f"({', '.join(found)})" if found else ""


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(reference(), encoding="utf-8")
