"""Where a person goes after signing in: back to a known request, or to one of our own pages; never to a given address."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode
from uuid import UUID

_OWN_PAGES = re.compile(
    r"account(/(security|devices|apps|delete))?|device(\?user_code=[A-Za-z]{4}-?[A-Za-z]{4})?"
    r"|federation/(connections|link/[0-9a-f-]{36})|invitation\?token=[A-Za-z0-9_-]{20,100}"
)
HOME = "account"
_UUID_LENGTH = 36


@dataclass(frozen=True, slots=True)
class Way:
    """An interaction of the protocol, or the path of a page of ours below the service's root."""

    interaction: UUID | None = None
    page: str = HOME

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Self:
        """Read `interaction` and `next` of a query or form. What is not known leads to the account page."""
        return cls(uuid_of(values.get("interaction")), own_page(values.get("next")))

    @property
    def suffix(self) -> str:
        """Return it as a query, for links between our pages."""
        if self.interaction:
            return urlencode({"interaction": str(self.interaction)})
        return urlencode({"next": self.page})

    @property
    def fields(self) -> dict[str, str]:
        """Return it as the values of a form's hidden fields."""
        return {"interaction": str(self.interaction or ""), "next": self.page}


def uuid_of(value: object) -> UUID | None:
    """Return the id that a text is, or None."""
    try:
        return UUID(value) if isinstance(value, str) and len(value) <= _UUID_LENGTH else None
    except ValueError:
        return None


def own_page(value: object) -> str:
    """Return `value` where it names a page that may follow a sign-in, else the account page."""
    return value if isinstance(value, str) and _OWN_PAGES.fullmatch(value) else HOME
