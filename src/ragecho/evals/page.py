"""The trend as one HTML page without scripts or anything remote: a line per suite, mode and measure."""

from collections import defaultdict
from collections.abc import Sequence
from html import escape
from typing import Final

from ragecho.evals.trend import Step

_WIDTH: Final = 640
_HEIGHT: Final = 120
_MARGIN: Final = 8
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "svg{width:100%;height:auto;border:1px solid #8884}polyline{fill:none;stroke:#2563eb;stroke-width:2}"
    "circle{fill:#2563eb}table{border-collapse:collapse;margin:.5rem 0 2rem}td,th{padding:.15rem .75rem;text-align:right}"
    "td:first-child,th:first-child{text-align:left}.loss{color:#c2410c}"
)


def trend_page(steps: Sequence[Step]) -> str:
    """Return the page. Everything in it is escaped; values stand in tables, too, so that nothing is in a picture only."""
    groups: dict[tuple[str, str, int], list[Step]] = defaultdict(list)
    for step in steps:
        groups[step.suite, step.mode, step.questions].append(step)
    parts = [_group(suite, mode, questions, of) for (suite, mode, questions), of in sorted(groups.items())]
    body = "".join(parts) or "<p>There are no runs yet.</p>"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Evaluation trend</title>'
        f"<style>{_STYLE}</style><h1>Evaluation trend</h1>{body}</html>\n"
    )


def _group(suite: str, mode: str, questions: int, steps: Sequence[Step]) -> str:
    names = list(dict.fromkeys(name for step in steps for name in step.values))
    title = f"{suite}, {mode}, {questions} questions"
    pictures = "".join(
        _picture(name, [step.values[name] for step in steps if name in step.values]) for name in names[:1]
    )
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("When", "Version", *names))
    rows = "".join(_row(step, names) for step in steps)
    return f"<h2>{escape(title)}</h2>{pictures}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(step: Step, names: Sequence[str]) -> str:
    cells = "".join(_cell(step.values.get(name), step.changes.get(name)) for name in names)
    return f"<tr><td>{escape(step.at[:16].replace('T', ' '))}</td><td>{escape(step.version)}</td>{cells}</tr>"


def _cell(value: float | None, change: float | None) -> str:
    if value is None:
        return "<td></td>"
    if change is None:
        return f"<td>{value:.4f}</td>"
    kind = ' class="loss"' if change < 0 else ""
    return f"<td{kind}>{value:.4f} ({change:+.4f})</td>"


def _picture(name: str, values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    low, high = (low - 0.01, high + 0.01) if high - low < 0.02 else (low, high)  # noqa: PLR2004 - noise is drawn flat
    step = (_WIDTH - 2 * _MARGIN) / max(1, len(values) - 1)
    points = [
        (_MARGIN + n * step, _HEIGHT - _MARGIN - (value - low) / (high - low) * (_HEIGHT - 2 * _MARGIN))
        for n, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
    label = escape(f"{name} from {values[0]:.4f} to {values[-1]:.4f} over {len(values)} runs")
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f'<polyline points="{line}"/>{dots}</svg><figcaption>{label}</figcaption></figure>'
    )
