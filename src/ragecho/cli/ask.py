"""`ragecho ask`."""

import json
import sys
from typing import Annotated, Any

import typer

from ragecho.cli.answers import show_answer
from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server, WorkspaceName
from ragecho.cli.errors import CliError
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, printable, waiting
from ragecho_sdk import Answer, AnswerEvent, Echo

app = App()


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    *,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", "-t", metavar="TAG", help="Only documents with it.")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", "-k", metavar="N", min=1, help="Passages to answer from.")] = None,
    model: Annotated[str | None, typer.Option(help="Generator, as `provider:model`.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the words as they are written.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Answer anew, though the same question was answered a moment ago.")
    ] = False,
    rewrite: Annotated[
        bool, typer.Option(help="Search for other wordings of the question, too, where the server is set up for it.")
    ] = True,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question with citations.

    Each citation shows the file, the page and the exact words. A question that the documents do not answer is refused,
    with exit code 0. With --stream --json every event is one line of JSON.
    """
    with connect(server, api_key, workspace) as echo:
        # What is None is left to the server.
        options: dict[str, Any] = {"k": k, "tags": tags, "model": model}
        options |= {"fresh": fresh or None, "rewrite": None if rewrite else False}
        if stream:
            _stream(echo, question, options, as_json=as_json)
            return
        with waiting("Reading the documents", is_shown=not as_json):
            answer = echo.ask(question, **options)
    if as_json:
        emit_json(answer.raw)
        return
    show_answer(answer)


def _stream(echo: Echo, question: str, options: dict[str, Any], *, as_json: bool) -> None:
    answer: Answer | None = None
    failure = "the answer broke off; ask again."
    is_written = False
    for event in echo.ask_stream(question, **options):
        if as_json:
            print(json.dumps({"event": event.event, "data": event.data}, ensure_ascii=False), flush=True)
        elif event.token:
            sys.stdout.write(printable(event.token))
            sys.stdout.flush()
            is_written = True
        if event.event == "error":
            failure = _reason(event)
        if event.event == "answer":
            answer = Answer.read(event.data)
    if is_written:
        print(flush=True)
    if answer is None:
        raise CliError(failure)
    if not as_json:
        show_answer(answer, is_text_shown=not is_written)


def _reason(event: AnswerEvent) -> str:
    if not isinstance(event.data, dict):
        return str(event.data)
    return str(event.data.get("detail") or event.data.get("title") or event.data.get("code") or "the answer failed.")
