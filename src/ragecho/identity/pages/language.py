"""In which language a page speaks: catalogues of texts as JSON, chosen from what the app and the browser ask for.

A new language is a new file `text/<tag>.json` with the keys of `en.json`; a test holds the catalogues together.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup

_FOLDER = Path(__file__).parent / "text"
DEFAULT = "en"
_LONGEST_HEADER = 500
_MOST_TAGS = 20


@dataclass(frozen=True, slots=True)
class Language:
    """One catalogue. `tag` is its BCP 47 tag, `direction` is ltr or rtl."""

    tag: str
    name: str
    direction: str
    texts: Mapping[str, str]

    def text(self, key: str, /, **values: object) -> Markup:
        """Return the text for a page; the catalogue may hold markup, every value is escaped. Unknown keys raise."""
        return Markup(self.texts[key]).format(**values)  # noqa: S704 - the catalogue is ours; format escapes the values

    def plural(self, key: str, count: int, /, **values: object) -> Markup:
        """Return the text of `<key>.one` or `<key>.other`, with `count` among its values."""
        return self.text(f"{key}.{'one' if count == 1 else 'other'}", count=count, **values)

    def permission(self, name: str, does: str) -> str:
        """Return what a permission allows, in this language; `does` of the authorization table where it is not named."""
        return self.texts.get(f"permission.{name}", does)


@cache
def languages() -> Mapping[str, Language]:
    """Return all catalogues by tag; read once."""
    found: dict[str, Language] = {}
    for path in sorted(_FOLDER.glob("*.json")):
        texts = json.loads(path.read_text("utf-8"))
        found[path.stem] = Language(path.stem, texts.pop("_name"), texts.pop("_direction"), texts)
    return found


def choose_language(wanted: Iterable[str], accept_language: str = "") -> Language:
    """Return the best catalogue: `wanted` tags in order (OpenID Connect's `ui_locales`), then the browser's header."""
    known = languages()
    for tag in [*list(wanted)[:_MOST_TAGS], *_by_quality(accept_language)]:
        # RFC 4647 lookup: the tag itself, then ever shorter ones.
        parts = tag.lower().split("-")
        for length in range(len(parts), 0, -1):
            language = known.get("-".join(parts[:length]))
            if language is not None:
                return language
    return known[DEFAULT]


def _by_quality(header: str) -> list[str]:
    weighted: list[tuple[float, int, str]] = []
    for place, part in enumerate(header[:_LONGEST_HEADER].split(",")[:_MOST_TAGS]):
        tag, _, weight = part.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        if tag.strip() and 0 < quality <= 1:
            weighted.append((-quality, place, tag.strip()))
    return [tag for _, _, tag in sorted(weighted)]
