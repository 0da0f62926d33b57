"""`ragecho search`."""

from enum import StrEnum
from typing import Annotated

import typer

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server, WorkspaceName
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note, printable, say, waiting
from ragecho_sdk import SearchHit, SearchResult

app = App()


class Mode(StrEnum):
    """How passages are found."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    LEXICAL = "lexical"


class Expand(StrEnum):
    """What is shown around a passage."""

    NONE = "none"
    NEIGHBOURS = "neighbours"
    SECTION = "section"


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for, in quotes.")],
    *,
    k: Annotated[int, typer.Option("--k", "-k", metavar="N", min=1, help="How many passages.")] = 5,
    mode: Annotated[Mode | None, typer.Option(help="By meaning, by words, or both.")] = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", "-t", metavar="TAG", help="Only documents with it.")
    ] = None,
    rerank: Annotated[bool | None, typer.Option("--rerank/--no-rerank", help="Let the reranker judge.")] = None,
    expand: Annotated[Expand | None, typer.Option(help="Show each passage with what stands around it.")] = None,
    per_document: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Passages of one document at most.")
    ] = None,
    diversity: Annotated[
        float | None, typer.Option(metavar="0-1", min=0, max=1, help="Prefer what says something else.")
    ] = None,
    as_written: Annotated[
        bool, typer.Option("--as-written", help="Correct nothing, and read nothing into the question.")
    ] = False,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Find passages."""
    with connect(server, api_key, workspace) as echo, waiting("Searching", is_shown=not as_json):
        found = echo.search(
            query,
            k=k,
            mode=mode,
            tags=tags,
            rerank=rerank,
            expand=expand,
            max_per_document=per_document,
            diversity=diversity,
            correct=False if as_written else None,
            broad=False if as_written else None,
        )
    if as_json:
        emit_json(found.raw)
        return
    _tell(found)
    if not found.results:
        note("Nothing found.")
    for number, hit in enumerate(found, start=1):
        _show(number, hit)


def _tell(found: SearchResult) -> None:
    """Say what happened to the question, on stderr."""
    for written, searched in found.corrected.items():
        note(f"Nothing holds '{printable(written)}': searched for '{printable(searched)}' (--as-written does not).")
    for form in found.exact:
        if not form.found:
            note(f"'{printable(form.text)}' stands nowhere exactly.")
    if found.scope == "document" and found.results:
        note(f"Parts of {printable(found.results[0].filename)}, in reading order.")


def _show(number: int, hit: SearchHit) -> None:
    page = f", page {hit.page}" if hit.page is not None else ""
    signals = " ".join(f"{name} {value:.3f}" for name, value in hit.scores.items() if isinstance(value, int | float))
    score = f"{hit.score:.3f}" + (f" ({signals})" if signals else "")
    if number > 1:
        say("")
    say((f"{number}. ", "cyan"), (printable(hit.filename), "bold"), page, (f"  {score}", "dim"))
    say(printable(" ".join(hit.text.split())), indent=3)
    if hit.duplicates:
        names = ", ".join(dict.fromkeys(printable(one.filename) for one in hit.duplicates))
        say((f"also in {names}", "dim"), indent=3)
