"""`ragecho config`."""

from dataclasses import asdict
from typing import Annotated

import typer

from ragecho.cli.config_check import Finding, Outcome, check_configuration
from ragecho.cli.connection_options import AsJson
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, say

app = App(help="Check the settings and write the example file.")

_MARKS = {Outcome.OK: ("✓", "green"), Outcome.WARNING: ("!", "yellow"), Outcome.ERROR: ("✗", "red")}


@app.command("check")
def check(
    *,
    production: Annotated[bool, typer.Option("--production", help="Refuse what only development tolerates.")] = False,
    as_json: AsJson = False,
) -> int:
    """Check settings, folders, database and models; exit code 1 when something is wrong.

    It names what is wrong and never prints a value.
    """
    findings = check_configuration(is_production=production)
    is_fit = not any(finding.outcome is Outcome.ERROR for finding in findings)
    if as_json:
        emit_json({"ok": is_fit, "checks": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _show(finding)
    return 0 if is_fit else 1


@app.command("env-example")
def env_example() -> None:
    """Print `.env.example`: every setting with its meaning and default."""
    from ragecho.cli.env_example import env_example as text

    print(text(), end="")


def _show(finding: Finding) -> None:
    mark, style = _MARKS[finding.outcome]
    subject = f"{finding.variable} " if finding.variable else ""
    say((f"{mark} ", style), f"{finding.check}: ", (subject, "bold"), finding.message)
