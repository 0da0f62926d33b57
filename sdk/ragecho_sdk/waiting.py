"""Waiting for documents: which to ask about next, and how long to pause. Without I/O; both clients drive it."""

from __future__ import annotations

from collections.abc import Sequence

from ragecho_sdk.errors import EchoTimeoutError
from ragecho_sdk.models import Document

WINDOW = 16
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0


class Waiting:
    """Asks about few documents at a time, since work is done about in order: n documents cost about n + rounds calls."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._order = list(dict.fromkeys(ids))
        self._known: dict[str, Document] = {}
        self._pending = list(self._order)
        self._pause_seconds = FIRST_PAUSE_SECONDS

    @property
    def is_over(self) -> bool:
        """Whether every document is ready or failed."""
        return not self._pending

    @property
    def documents(self) -> list[Document]:
        """What is known so far, in the order of the ids."""
        return [self._known[document_id] for document_id in self._order if document_id in self._known]

    def next_ids(self) -> list[str]:
        """Return the ids to ask about now."""
        return self._pending[:WINDOW]

    def tell(self, documents: Sequence[Document]) -> float:
        """Take the answers of one round and return how many seconds to pause before the next."""
        settled = {document.id for document in documents if document.is_settled}
        self._known.update({document.id: document for document in documents})
        self._pending = [document_id for document_id in self._pending if document_id not in settled]
        if settled:
            self._pause_seconds = FIRST_PAUSE_SECONDS
            return 0.0
        pause = self._pause_seconds
        self._pause_seconds = min(LONGEST_PAUSE_SECONDS, pause * 1.5)
        return pause

    def timed_out(self, timeout_seconds: float) -> EchoTimeoutError:
        """Return the error for a wait that is over too early."""
        return EchoTimeoutError(
            f"{len(self._pending)} of {len(self._order)} documents are not ready after {timeout_seconds:g} seconds.",
            self.documents,
        )
