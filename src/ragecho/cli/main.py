"""`ragecho`: the entry point, the overview of the commands, and the one place that turns failures into lines."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from ragecho.cli.errors import BadUse, CliError
from ragecho.cli.lazy import App, Entry, LazyGroup

# Official builds of ONNX Runtime report to their maker unless this is set before they load. Echo reports to nobody, and
# what a command starts (the server, its workers) inherits this.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# The products of numpy are small here and many at once. OpenBLAS would split each between all cores and wait in a loop for
# the slowest: beside other work a question over 3,000 vectors then took 6.7 ms of processor time instead of 0.3.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# So does what Faiss compares: one search is one core's work, the others have other searches.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What was given cannot be right, as the server or the library says.
_BAD_USE = frozenset({"invalid_input", "validation_error"})

ASKING, ORGANIZING, RUNNING, OPERATING = "Ask and ingest", "Organise", "Run", "Operate"

ENTRIES = (
    Entry("quickstart", "ragecho.cli.quickstart", "Answer one question from files, leaving no server behind.", ASKING),
    Entry("ingest", "ragecho.cli.ingest", "Upload files or folders and report every file.", ASKING),
    Entry("ask", "ragecho.cli.ask", "Answer a question with citations.", ASKING),
    Entry("search", "ragecho.cli.search", "Find passages.", ASKING),
    Entry("documents", "ragecho.cli.documents", "List, show and remove documents.", ASKING),
    Entry("sources", "ragecho.cli.sources", "Set up, sync and remove places that documents come from.", ASKING),
    Entry("watch", "ragecho.cli.watch", "Keep folders and the documents made of them in step.", ASKING),
    Entry("jobs", "ragecho.cli.jobs", "List, show, follow, retry, cancel and discard background jobs.", ASKING),
    Entry("login", "ragecho.cli.login", "Sign in to a server in the browser, on this or any other device.", ASKING),
    Entry("logout", "ragecho.cli.logout", "Sign out of a server: end the sign-in there and forget it here.", ASKING),
    Entry("whoami", "ragecho.cli.whoami", "Show who the commands act as, and in which workspaces.", ASKING),
    Entry("workspaces", "ragecho.cli.workspaces", "List, create, change, archive and restore workspaces.", ORGANIZING),
    Entry("members", "ragecho.cli.members", "List, change, suspend and remove the organisation's people.", ORGANIZING),
    Entry("groups", "ragecho.cli.groups", "List, create and change groups of people.", ORGANIZING),
    Entry("invitations", "ragecho.cli.invitations", "Invite people into the organisation.", ORGANIZING),
    Entry("keys", "ragecho.cli.api_keys", "List, create, rotate and revoke API keys.", ORGANIZING),
    Entry(
        "service-accounts",
        "ragecho.cli.service_accounts",
        "List, create and change the accounts of programs.",
        ORGANIZING,
    ),
    Entry(
        "organizations",
        "ragecho.cli.organizations",
        "List and change organisations, and show the audit log.",
        ORGANIZING,
    ),
    Entry("serve", "ragecho.cli.serve", "Run everything in one process tree.", RUNNING),
    Entry("api", "ragecho.cli.api", "Run the HTTP server alone.", RUNNING),
    Entry("worker", "ragecho.cli.worker", "Run a worker alone.", RUNNING),
    Entry(
        "identity",
        "ragecho.cli.identity",
        "Run the identity service alone, or manage its clients and keys.",
        OPERATING,
    ),
    Entry("admin", "ragecho.cli.admin", "Create administrators and API keys on this machine.", OPERATING),
    Entry("db", "ragecho.cli.db", "Upgrade the database's schema.", OPERATING),
    Entry("index", "ragecho.cli.index", "Compare the index with what it should hold, and mend it.", OPERATING),
    Entry(
        "reindex",
        "ragecho.cli.reindex",
        "Embed a workspace's documents anew, with another model or other settings, while searches go on.",
        OPERATING,
    ),
    Entry("config", "ragecho.cli.config", "Check the settings and write the example file.", OPERATING),
    Entry("models", "ragecho.cli.models", "List, fetch and add models.", OPERATING),
    Entry(
        "eval", "ragecho.cli.eval_commands", "Run the evaluation gate and show its trend.", OPERATING, is_optional=True
    ),
)


class Commands(LazyGroup):
    """Every command of `ragecho`."""

    entries = ENTRIES


app = App(cls=Commands, has_completion=True)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        print(f"ragecho {version('ragecho')}")
        raise typer.Exit


@app.callback()
def ragecho(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Echo answers questions over your own documents, with a citation for every sentence.

    Start with `ragecho quickstart "question" PATH…`, or run a server with `ragecho serve`.
    """


def main() -> NoReturn:
    """Run the command line on `sys.argv` and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0, 1 on failure, 2 on bad use, 130 when interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show must not end the command
    try:
        code = typer.main.get_command(app)(args=list(arguments), prog_name="ragecho", standalone_mode=False)
    except Exception as error:
        if os.environ.get("RAGECHO_DEBUG") == "1":
            raise
        return _report(error)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    code, line = _line(error)
    if line:
        print(f"ragecho: {' '.join(line.split())}", file=sys.stderr)
    return code


def _line(error: Exception) -> tuple[int, str]:
    from ragecho.kernel.errors import EchoError

    if isinstance(error, typer.Abort):
        return 130, "interrupted."
    if isinstance(error, typer.TyperException):
        return error.exit_code, _usage(error)
    if isinstance(error, CliError):
        return error.exit_code, str(error)
    # Both our own errors and those of a server's answer have a code.
    exit_code = BadUse.exit_code if getattr(error, "code", None) in _BAD_USE else 1
    return exit_code, error.message if isinstance(error, EchoError) else _foreign_line(error)


def _foreign_line(error: Exception) -> str:
    if "ragecho_sdk" in sys.modules:  # only a client command can have raised one of its errors
        from ragecho.cli.connection import explain

        if line := explain(error):
            return line
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"unexpected {type(error).__name__}: {error} (RAGECHO_DEBUG=1 shows where)"


def _usage(error: typer.TyperException) -> str:
    message = error.format_message().strip()
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    stop = "" if message.endswith((".", "?")) else "."
    return f"{message}{stop} See '{context.command_path} --help'."
