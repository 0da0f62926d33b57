"""What a worker does for documents from elsewhere: the handlers of their jobs."""

from collections.abc import Mapping

from ragecho.ingest.sources.by_url import FETCH_JOB, UrlFetching
from ragecho.platform.jobs.runner import Handler


class SourceWork:
    """The handlers of jobs by their kind."""

    def __init__(self, urls: UrlFetching) -> None:
        self._urls = urls

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers of jobs, by kind."""
        return {FETCH_JOB: self._urls.run}
