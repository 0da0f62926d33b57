"""`ragecho watch`: keeps folders and the documents made of them in step, by the paths in the documents' metadata.

The server holds the state: each document says the path it was made of, and its digest. So a watcher that was stopped, or
runs on another day, goes on where the last one was, and nothing is kept beside the files.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, Server, WorkspaceName
from ragecho.cli.errors import BadUse
from ragecho.cli.lazy import App
from ragecho.cli.output import note
from ragecho.cli.uploading import find_files
from ragecho.kernel.caller import Access

if TYPE_CHECKING:
    from ragecho_sdk import Document, Echo

app = App()

PIECE_BYTES = 1024 * 1024
# Editors write a file in several steps; this long without another change, and it is finished.
SETTLE_MS = 500
LOOK_MS = 5000
PATH = "path"


@app.command()
def watch(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Folders with all that is in them, or files.")],
    *,
    tags: Annotated[list[str] | None, typer.Option("--tag", "-t", metavar="TAG", help="Tag; repeatable.")] = None,
    access: Annotated[Access | None, typer.Option(help="Who may read the documents.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove documents whose files are gone.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Compare once and end.")] = False,
    polling: Annotated[bool, typer.Option("--polling", help="Look again and again; for network drives.")] = False,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Keep folders and the documents made of them in step.

    New files are uploaded, changed ones replace their documents. Hidden files and links are skipped. Ctrl-C ends it.
    """
    roots = [path.resolve() for path in paths]
    for root in roots:
        if not root.exists():
            raise BadUse(f"{root} does not exist.")
    with connect(server, api_key, workspace) as echo:
        watcher = Watcher(echo, roots, tags=tags or (), access=access, is_deleting=delete)
        watcher.compare()
        if once:
            return
        note("Watching. Ctrl-C ends it.")
        for _ in _changes(roots, is_polling=polling):
            watcher.compare()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a file looked like when its content was known."""

    size: int
    modified: int
    sha256: str


class Watcher:
    """Compares files with the documents that were made of them."""

    def __init__(
        self,
        echo: "Echo",
        roots: Sequence[Path],
        *,
        tags: Sequence[str],
        access: Access | None,
        is_deleting: bool,
    ) -> None:
        self._echo = echo
        self._roots = roots
        self._tags = tags
        self._access = access
        self._is_deleting = is_deleting
        self._seen: dict[str, _Seen] = {}
        self._held: dict[str, Document] | None = None

    def compare(self) -> None:
        """Bring the documents in step with the files as they are now."""
        if self._held is None:
            self._held = self._documents()
        held = self._held
        files = {str(path): path for path in self._files()}
        for name, path in files.items():
            try:
                self._keep(name, path, held)
            except FileNotFoundError:
                continue  # gone again
        for name in [name for name in held if name not in files]:
            self._seen.pop(name, None)
            if self._is_deleting:
                self._echo.documents.delete(held.pop(name).id)
                note(f"Removed  {name}")

    def _keep(self, name: str, path: Path, held: "dict[str, Document]") -> None:
        facts = path.stat()
        seen = self._seen.get(name)
        if seen is not None and (seen.size, seen.modified) == (facts.st_size, facts.st_mtime_ns):
            return
        digest = _digest(path)
        document = held.get(name)
        if document is None and facts.st_size:
            self._add(name, path, held)
        elif document is not None and digest != (seen.sha256 if seen else document.sha256):
            self._echo.documents.replace(document.id, path)
            note(f"Replaced {name}")
        self._seen[name] = _Seen(facts.st_size, facts.st_mtime_ns, digest)

    def _add(self, name: str, path: Path, held: "dict[str, Document]") -> None:
        (accepted,) = self._echo.upload(path, tags=self._tags, access=self._access, metadata={PATH: name})
        if accepted.duplicate_of:
            # Another file, or somebody else, brought the same content: it is there, and not ours to replace or remove.
            note(f"Same as {accepted.duplicate_of}: {name}")
            return
        held[name] = self._echo.documents.get(accepted.id or "")
        note(f"Uploaded {name}")

    def _files(self) -> list[Path]:
        there = [root for root in self._roots if root.exists()]
        folders_with_files = [root for root in there if root.is_file() or any(root.iterdir())]
        if not folders_with_files:
            return []
        try:
            return find_files(folders_with_files)
        except Exception:  # noqa: BLE001 - only hidden files and links are left
            return []

    def _documents(self) -> "dict[str, Document]":
        """Return the documents that were made of files below the roots, by path."""
        found: dict[str, Document] = {}
        for document in self._echo.documents.iterate():
            path = document.metadata.get(PATH)
            if isinstance(path, str) and any(Path(path).is_relative_to(root) for root in self._roots):
                found.setdefault(path, document)
        return found


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _changes(roots: Sequence[Path], *, is_polling: bool) -> Iterator[None]:
    """Yield whenever something below the roots changed, and every few seconds; ends at Ctrl-C.

    What changed before the watch began, or what the system did not tell, is found then.
    """
    import watchfiles

    changes = watchfiles.watch(
        *roots,
        debounce=SETTLE_MS * 4,
        step=SETTLE_MS,
        rust_timeout=LOOK_MS,
        yield_on_timeout=True,
        force_polling=is_polling or None,
        raise_interrupt=False,
    )
    for _ in changes:
        yield
