"""`ragecho documents`."""

import sys
from typing import Annotated

import typer

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server, WorkspaceName
from ragecho.cli.lazy import App
from ragecho.cli.output import (
    emit_json,
    human_size,
    note,
    printable,
    short_time,
    show_fields,
    status_mark,
    stdout_is_terminal,
)
from ragecho.cli.paging import Limit, Offset, show_page
from ragecho.kernel.caller import Access

app = App(help="List, show and remove documents.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The document's id, as `documents ls` shows it.")]


@app.command("ls")
def list_documents(
    *,
    status: Annotated[str | None, typer.Option(help="queued, processing, ready or failed.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", "-t", metavar="TAG", help="Only documents with it.")] = None,
    query: Annotated[
        str | None, typer.Option("--query", "-q", metavar="WORDS", help="Words in the file name or title.")
    ] = None,
    access: Annotated[Access | None, typer.Option(help="Only documents of this access.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List documents, newest first."""
    with connect(server, api_key, workspace) as echo:
        page = echo.documents.list(status=status, tag=tag, q=query, access=access, limit=limit, offset=offset)
    show_page(
        page,
        ("ID", "STATUS", "FILE", "PAGES", "CHUNKS", "ACCESS", "TAGS", "CREATED"),
        lambda d: (
            d.id,
            status_mark(d.status),
            d.filename,
            d.pages,
            d.chunks,
            d.access,
            d.tags,
            short_time(d.created_at),
        ),
        as_json=as_json,
        empty="No documents. Upload some with `ragecho ingest PATH…`.",
        flexible="FILE",
        optional=("CHUNKS", "ACCESS", "TAGS", "CREATED", "PAGES"),
    )


@app.command("show")
def show_document(
    document_id: Id,
    *,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show one document."""
    with connect(server, api_key, workspace) as echo:
        document = echo.documents.get(document_id)
    if as_json:
        emit_json(document.raw)
        return
    show_fields(
        [
            ("id", document.id),
            ("file", document.filename),
            ("title", document.title),
            ("status", status_mark(document.status)),
            ("error", document.error),
            ("type", document.content_type),
            ("size", human_size(document.size_bytes)),
            ("pages", document.pages),
            ("chunks", document.chunks),
            ("access", document.access),
            ("tags", document.tags),
            ("version", document.version),
            ("language", document.language),
            ("authors", document.authors),
            ("written", short_time(document.written_at)),
            ("sha256", document.sha256),
            ("created", short_time(document.created_at)),
        ]
    )


@app.command("versions")
def list_versions(
    document_id: Id,
    *,
    limit: Limit = 50,
    offset: Offset = 0,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the versions of a document, newest first."""
    with connect(server, api_key, workspace) as echo:
        page = echo.documents.versions(document_id, limit=limit, offset=offset)
    show_page(
        page,
        ("VERSION", "STATE", "FILE", "SIZE", "UPLOADED"),
        lambda v: (
            v.number,
            "current" if v.is_current else "",
            v.filename,
            human_size(v.size_bytes),
            short_time(v.created_at),
        ),
        as_json=as_json,
        empty="No versions.",
        flexible="FILE",
    )


@app.command("rm")
def remove_documents(
    document_ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids, as `documents ls` shows them.")],
    *,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Remove documents: they are gone from the very next question."""
    with connect(server, api_key, workspace) as echo:
        for document_id in document_ids:
            echo.documents.delete(document_id)
            if not as_json:
                note(f"Removed {document_id}.")
    if as_json:
        emit_json({"removed": document_ids})


@app.command("text")
def document_text(
    document_id: Id, *, workspace: WorkspaceName = None, server: Server = None, api_key: ApiKey = None
) -> None:
    """Print the text that was read from a document, which citations count in."""
    with connect(server, api_key, workspace) as echo:
        text = echo.documents.text(document_id)
    # A program gets the text to the letter; a terminal must not be steered by what stands in a document.
    sys.stdout.write(printable(text) + "\n" if stdout_is_terminal() else text)
