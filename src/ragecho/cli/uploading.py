"""Files on their way into a workspace: which files, in which batches, and what became of each."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragecho.cli.errors import BadUse, CliError
from ragecho.cli.output import progress_bar
from ragecho.kernel.ids import uuid7
from ragecho_sdk import Document, Echo, EchoAPIError, EchoTimeoutError, UploadedDocument

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

BATCH_FILES = 16
BATCH_BYTES = 32 * 1024 * 1024
# Refusals that concern the caller or the server, not one file of the batch: trying each file alone cannot help.
_NOT_ABOUT_A_FILE = frozenset({401, 403, 404, 409, 429})


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file: `status` is queued, processing, ready, duplicate or failed, and `error` says why."""

    path: Path
    status: str
    id: str | None = None
    job_id: str | None = None
    duplicate_of: str | None = None
    error: str | None = None
    pages: int | None = None
    chunks: int | None = None

    @property
    def document_id(self) -> str | None:
        """The document that holds this content now."""
        return self.duplicate_of or self.id

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {**asdict(self), "path": str(self.path), "filename": self.path.name}


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files named and those in the folders named, in order, each once; hidden ones in folders are skipped.

    Raises `BadUse` for a path that does not exist and `CliError` when nothing is left to upload.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise BadUse(f"{path} does not exist.")
        found.update(dict.fromkeys(_files_under(path) if path.is_dir() else [path]))
    if not found:
        raise CliError(f"no files to upload in {', '.join(map(str, paths))}.")
    return list(found)


def _files_under(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            # lstat: a link inside a folder may lead anywhere, so only real files are taken along.
            if not name.startswith(".") and stat.S_ISREG(path.lstat().st_mode):
                yield path


def in_batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield the files in requests of at most `BATCH_FILES` files and, a single large file aside, `BATCH_BYTES` bytes."""
    batch: list[Path] = []
    size_bytes = 0
    for path in files:
        size = path.stat().st_size
        if batch and (len(batch) == BATCH_FILES or size_bytes + size > BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(path)
        size_bytes += size
    if batch:
        yield batch


def ingest_files(
    echo: Echo,
    files: Sequence[Path],
    *,
    tags: Sequence[str] = (),
    access: str | None = None,
    priority: str | None = None,
    password: str | None = None,
    is_waiting: bool = True,
    timeout_seconds: float = 600.0,
    is_progress_shown: bool = True,
) -> list[FileReport]:
    """Upload the files and return one report each, in order. With `is_waiting`, once each is ready or failed."""
    with progress_bar(is_shown=is_progress_shown) as progress:
        task = progress.add_task("Uploading", total=len(files))
        reports: list[FileReport] = []
        options: dict[str, Any] = {
            "tags": tags,
            "access": access,
            "priority": priority,
            "password": password,
            "batch": str(uuid7()),
        }
        for batch in in_batches(files):
            sizes = _Sizes(progress, task, batch, len(reports))
            reports += _upload(echo, batch, options | {"on_progress": sizes.tell})
            progress.update(task, completed=len(reports))
        ids = [report.document_id for report in reports if report.document_id and report.status != "failed"]
        if not is_waiting or not ids:
            return reports
        task = progress.add_task("Reading and indexing", total=len(ids))

        def show(documents: Sequence[Document]) -> None:
            progress.update(task, completed=sum(document.is_settled for document in documents))

        try:
            settled = echo.wait_until_ready(ids, timeout_seconds=timeout_seconds, on_progress=show)
            late = ""
        except EchoTimeoutError as error:
            settled, late = list(error.documents), f"not ready after {timeout_seconds:g} seconds"
    documents = {document.id: document for document in settled}
    return [_settle(report, documents, late) for report in reports]


class _Sizes:
    """Moves the bar within a large file, which is alone in its batch."""

    def __init__(self, progress: "Progress", task: "TaskID", batch: Sequence[Path], done: int) -> None:
        self._progress, self._task, self._done = progress, task, done
        self._total = max(1, batch[0].stat().st_size)

    def tell(self, received_bytes: int) -> None:
        """Show how much of it has arrived."""
        self._progress.update(self._task, completed=self._done + received_bytes / self._total)


def _upload(echo: Echo, batch: Sequence[Path], options: dict[str, Any]) -> list[FileReport]:
    unreadable = {path: FileReport(path, "failed", error=reason) for path in batch if (reason := _unreadable(path))}
    readable = [path for path in batch if path not in unreadable]
    sent = dict(zip(readable, _send(echo, readable, options), strict=True)) if readable else {}
    return [unreadable.get(path) or sent[path] for path in batch]


def _unreadable(path: Path) -> str | None:
    if not path.is_file():
        return "is no regular file"
    try:
        with path.open("rb"):
            return None
    except OSError as error:
        return error.strerror or "cannot be read"


def _send(echo: Echo, batch: Sequence[Path], options: dict[str, Any]) -> list[FileReport]:
    try:
        uploaded = echo.upload(*batch, **options)
    except EchoAPIError as error:
        is_about_a_file = 400 <= error.status < 500 and error.status not in _NOT_ABOUT_A_FILE  # noqa: PLR2004 - RFC 9110
        if not is_about_a_file:
            raise
        if len(batch) == 1:
            return [FileReport(batch[0], "failed", error=error.detail)]
        # One file spoils its batch, of which nothing was taken: each goes alone, so that the others arrive and the culprit is named.
        return [report for path in batch for report in _send(echo, [path], options)]
    if len(uploaded) != len(batch):
        raise CliError(f"the server reported {len(uploaded)} of {len(batch)} uploaded files.")
    return [_report(path, document) for path, document in zip(batch, uploaded, strict=True)]


def _report(path: Path, document: UploadedDocument) -> FileReport:
    same = document.duplicate_of
    error = document.error.message if document.error else None
    return FileReport(path, "duplicate" if same else document.status, document.id, document.job_id, same, error)


def _settle(report: FileReport, documents: dict[str, Document], late: str) -> FileReport:
    document = documents.get(report.document_id or "")
    if document is None or report.status == "failed":
        return report
    known = replace(report, pages=document.pages, chunks=document.chunks)
    if document.is_failed:
        return replace(known, status="failed", error=str(document.error or "the server gives no reason"))
    if not document.is_settled:
        return replace(known, status=document.status, error=late)
    return known if report.duplicate_of else replace(known, status=document.status)
