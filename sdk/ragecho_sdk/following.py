"""Following jobs live: what is known of a stream that may break and go on. Without I/O; both clients drive it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from ragecho_sdk.models import Batch, Job
from ragecho_sdk.sse import EventDecoder

PATH = "/api/v1/jobs/stream"
# Breaks in a row, with nothing told in between, after which the stream is given up.
MOST_BREAKS = 8

Followed = Job | Batch


class Following:
    """Reads the events of one stream after the other, each from where the last one ended."""

    def __init__(self, *, jobs: Sequence[str] = (), documents: Sequence[str] = (), batch: str | None = None) -> None:
        self.params: dict[str, Any] = {"job_id": list(jobs), "document_id": list(documents)}
        if batch is not None:
            self.params["batch"] = batch
        self.is_over = False
        self._last_id: str | None = None
        self._breaks = 0
        self._decoder = EventDecoder()

    def begin(self) -> dict[str, str]:
        """Return the headers of the next stream."""
        self._decoder = EventDecoder()
        headers = {"Accept": "text/event-stream"}
        return headers if self._last_id is None else {**headers, "Last-Event-ID": self._last_id}

    def feed(self, piece: bytes) -> list[Followed]:
        """Return what the piece tells: jobs and batches as they are now."""
        told: list[Followed] = []
        for event in self._decoder.feed(piece):
            self._breaks = 0
            if event.event == "job":
                told.append(Job.read(event.data))
            elif event.event == "batch":
                told.append(Batch.read(event.data))
            elif event.event == "done" and event.data.get("complete"):
                self.is_over = True
        self._last_id = self._decoder.last_id or self._last_id
        return told

    def pause(self) -> float | None:
        """Return how long to wait before the next stream after one that broke; None when it is to be given up."""
        self._breaks += 1
        if self._breaks > MOST_BREAKS:
            return None
        return random.uniform(0.1, min(8.0, 0.25 * 2**self._breaks))  # noqa: S311 - spreads load, guards nothing
