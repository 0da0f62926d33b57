"""How an answer and its citations look."""

from rich.text import Text

from ragecho.cli.output import printable, say
from ragecho_sdk import Answer, Citation


def show_answer(answer: Answer, *, is_text_shown: bool = True) -> None:
    """Print the answer, each citation with its exact words, and what produced it. A refusal says that it is one."""
    if answer.refused:
        reason = f" ({printable(answer.refusal_reason)})" if answer.refusal_reason else ""
        say((f"No answer from these documents{reason}.", "bold yellow"))
    if is_text_shown and answer.answer:
        say(printable(answer.answer))
    for sentence in answer.unsupported:
        say(("Not supported by the documents: ", "bold yellow"), printable(sentence))
    for warning in answer.warnings:
        say(("Note: ", "yellow"), printable(warning))
    if answer.citations:
        say(("\nSources", "bold"))
    for citation in answer.citations:
        show_citation(citation)
    footer = _footer(answer)
    if footer:
        say((f"\n{footer}", "dim"))


def show_citation(citation: Citation) -> None:
    """Print a citation: its number, file and page, then the words quoted."""
    page = f", page {citation.page}" if citation.page is not None else ""
    doubt = Text("" if citation.verified else "  not verified", style="bold yellow")
    say((f"[{citation.n}] ", "cyan"), (printable(citation.filename), "bold"), page, doubt, indent=2)
    say((f"“{printable(citation.quote)}”", "italic"), indent=6)


def _footer(answer: Answer) -> str:
    facts = [printable(answer.model)] if answer.model else []
    total = answer.timings_ms.get("total")
    facts += [f"{total:.0f} ms"] if isinstance(total, int | float) else []
    facts += [f"confidence {answer.confidence:.2f}"] if answer.confidence is not None else []
    facts += [f"${answer.cost_usd:.4f}"] if answer.cost_usd else []
    facts += ["from the cache"] if answer.cached else []
    return " · ".join(facts)
