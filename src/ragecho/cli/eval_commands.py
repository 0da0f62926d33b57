"""`ragecho eval`: measure the product on suites with known answers, guard it with a gate, show the trend."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragecho.cli.connection_options import AsJson
from ragecho.cli.errors import CliError
from ragecho.cli.lazy import App
from ragecho.cli.output import counted, emit_json, note, printable, progress_bar, show_table
from ragecho.cli.settings import load_settings

if TYPE_CHECKING:
    from ragecho.evals.diff import Difference
    from ragecho.evals.gate import Comparison
    from ragecho.evals.run import Progress, Result
    from ragecho.evals.suites import Suite
    from ragecho.platform.settings import Settings

app = App(help="Run the evaluation gate and show its trend.")

DEFAULT_DATA = Path("../shared/data/retrieval")


class Mode(StrEnum):
    """Which signals search uses."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    LEXICAL = "lexical"


TrendFile = Annotated[
    Path | None,
    typer.Option("--trend-file", metavar="FILE", help="Record of runs; default DATA_DIR/evals/runs.jsonl."),
]


@app.command("run")
def run_suites(
    *,
    suites: Annotated[
        list[str] | None,
        typer.Option("--suite", metavar="NAME", help="Suite to run, or `all`; repeat for more. Default smoke."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder of suites in BEIR layout (RAGECHO_EVAL_DATA).")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="Which signals search uses.")] = Mode.HYBRID,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Ask only the first N questions of each kind.")
    ] = None,
    is_gate: Annotated[
        bool, typer.Option("--gate", help="Compare with the baselines; exit with 1 on a significant loss.")
    ] = False,
    baselines: Annotated[
        Path | None, typer.Option("--baselines", metavar="FILE", help="Baselines; default those of the package.")
    ] = None,
    is_baseline: Annotated[
        bool, typer.Option("--set-baseline", help="Store this run as the baseline (needs --baselines).")
    ] = False,
    is_kept: Annotated[
        bool, typer.Option("--keep", help="Keep the ingested documents for the next run (DATA_DIR/evals/store).")
    ] = False,
    is_in_database: Annotated[
        bool, typer.Option("--in-database", help="Use the configured database instead of a store of its own.")
    ] = False,
    trend_file: TrendFile = None,
    as_json: AsJson = False,
) -> int:
    """Take each suite through ingestion, search and answers, and measure."""
    from ragecho.evals import gate, trend
    from ragecho.evals.suites import SMOKE, load_suite, suite_names
    from ragecho.platform.settings import Settings
    from ragecho.platform.telemetry import configure_logging
    from ragecho.roles.evaluation import evaluation_settings

    if is_baseline and baselines is None:
        raise CliError("--set-baseline writes a file: name it with --baselines.")
    if is_baseline and limit is not None:
        raise CliError("--set-baseline needs the whole suite: leave out --limit.")
    settings = load_settings(Settings)
    configure_logging(settings.model_copy(update={"log_level": "warning"}), role="eval")
    folder = _data_folder(data)
    loaded = [load_suite(name, folder) for name in suite_names(suites or [SMOKE], folder)]
    known = gate.read_baselines(baselines) if is_gate else {}
    record_file = trend_file or settings.data_dir / "evals" / "runs.jsonl"
    keep_in = settings.data_dir / "evals" / "store" if is_kept else None
    records, compared, failures = [], [], []
    with evaluation_settings(settings, keep_in=keep_in, use_configured=is_in_database) as own:
        for suite in loaded:
            key = f"{suite.name}/{mode}"
            if is_gate and key not in known:
                raise CliError(f"There is no baseline for {key}; make one with --set-baseline.")
            corpus = next(other.name for other in loaded if other.documents == suite.documents)
            result = _run(own, suite, mode, corpus=corpus, limit=limit, is_kept=is_kept or not is_in_database)
            record = trend.record_of(result, mode=mode, settings=_recorded(own, limit))
            trend.append(record_file, record)
            records.append(record)
            failures += [f"{suite.name}: {document}: {reason}" for document, reason in result.loaded.failed]
            if is_gate:
                compared += gate.compare(suite.name, mode, _asked(known[key], result, limit), result.scores)
            if is_baseline and baselines is not None:
                gate.write_baseline(baselines, key, result.scores, about=_about(record))
    if as_json:
        emit_json({"runs": records, "gate": [asdict(one) for one in compared], "failed": failures})
    else:
        _show(records, compared, failures)
    return 1 if is_gate and (failures or any(one.is_loss for one in compared)) else 0


@app.command("trend")
def show_trend(
    *,
    trend_file: TrendFile = None,
    suite: Annotated[str | None, typer.Option(help="Only this suite.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with lines instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List recorded runs with the differences to the run before."""
    from ragecho.evals import trend
    from ragecho.platform.settings import Settings

    path = trend_file or load_settings(Settings).data_dir / "evals" / "runs.jsonl"
    steps = [step for step in trend.steps(trend.read(path)) if suite in (None, step.suite)]
    if html is not None:
        from ragecho.evals.page import trend_page

        html.write_text(trend_page(steps), encoding="utf-8")
        print(f"{counted(len(steps), 'run')} in {html}")
        return
    if as_json:
        emit_json([asdict(step) for step in steps])
        return
    names = [name for name in ("nDCG@10", "R@10", "R@100", "RR@10", "refusal") if any(name in s.values for s in steps)]
    show_table(
        ["When", "Suite", "Mode", "Version", "Questions", *names],
        [
            [step.at[:16].replace("T", " "), step.suite, step.mode, step.version, step.questions]
            + [_with_change(step.values.get(name), step.changes.get(name)) for name in names]
            for step in steps
        ],
        flexible="Version",
        empty=f"No runs in {path} yet: 'ragecho eval run' makes one.",
    )


@app.command("diff")
def show_difference(
    before: Annotated[
        str, typer.Argument(help="A run: the beginning of its time or commit; -1 is the last one.")
    ] = "-2",
    after: Annotated[str, typer.Argument(help="The run to compare with it.")] = "-1",
    *,
    trend_file: TrendFile = None,
    suite: Annotated[str | None, typer.Option(help="Only runs of this suite.")] = None,
    most: Annotated[int, typer.Option("--most", min=0, help="Questions shown at each end.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Compare two recorded runs question by question (before the options, write `--` where a run is -1 or the like)."""
    from ragecho.evals import diff, trend
    from ragecho.platform.settings import Settings

    path = trend_file or load_settings(Settings).data_dir / "evals" / "runs.jsonl"
    records = list(trend.read(path))
    first = diff.find_run(records, before, suite=suite)
    second = diff.find_run(records, after, suite=suite or first["suite"])
    found = diff.differences(first, second)
    if as_json:
        emit_json({"before": first["at"], "after": second["at"], "measures": [asdict(one) for one in found]})
        return
    print(f"{first['suite']}: {first['at']} ({first.get('commit')}) → {second['at']} ({second.get('commit')})")
    show_table(
        ["Measure", "Before", "After", "Difference", "95 % interval", "p loss", "p gain", "Worse", "Better"],
        [_compared(one) for one in found],
        flexible="Measure",
        empty="The runs have no measure in common.",
    )
    for one in found[:1]:
        worst, best = one.changed[:most], one.changed[max(most, len(one.changed) - most) :]
        show_table(
            ["Question", "Before", "After", one.measure],
            [
                [printable(q.question), f"{q.before:.3f}", f"{q.after:.3f}", f"{q.difference:+.3f}"]
                for q in (*worst, *best)
            ],
            flexible="Question",
            empty="No question scores differently.",
        )


def _compared(one: "Difference") -> list[str | int]:
    worse = sum(question.difference < 0 for question in one.changed)
    return [
        one.measure,
        f"{one.before:.4f}",
        f"{one.after:.4f}",
        f"{one.difference:+.4f}",
        f"{one.low:+.4f} to {one.high:+.4f}",
        f"{one.p_loss:.3f}",
        f"{one.p_gain:.3f}",
        worse,
        len(one.changed) - worse,
    ]


def _data_folder(given: Path | None) -> Path | None:
    """Return the folder of suites: the given one, RAGECHO_EVAL_DATA, or the shared one beside the working directory."""
    named = given or (Path(os.environ["RAGECHO_EVAL_DATA"]) if os.environ.get("RAGECHO_EVAL_DATA") else None)
    if named is not None:
        if not named.is_dir():
            raise CliError(f"There is no folder {named}.")
        return named
    return DEFAULT_DATA if DEFAULT_DATA.is_dir() else None


def _run(
    settings: "Settings", suite: "Suite", mode: Mode, *, corpus: str, limit: int | None, is_kept: bool
) -> "Result":
    from ragecho.evals.run import evaluate
    from ragecho.roles.evaluation import product

    async def work(on_progress: "Progress") -> "Result":
        async with product(settings, corpus, mode=mode, is_kept=is_kept) as system:
            return await evaluate(system, suite, limit=limit, on_progress=on_progress)

    with _progress(suite.name) as on_progress:
        return asyncio.run(work(on_progress))


@contextmanager
def _progress(suite: str) -> Iterator["Progress"]:
    with progress_bar() as bar:
        task = bar.add_task(suite, total=None)

        def show(stage: str, done: int, total: int) -> None:
            bar.update(task, description=f"{suite}: {stage}", completed=done, total=total)

        yield show


def _recorded(settings: "Settings", limit: int | None) -> dict[str, Any]:
    """Return the settings that results depend on."""
    from ragecho.library.search import SearchTuning
    from ragecho.wiring import space_of

    space = space_of(settings)
    return {
        "embedder": space.model,
        "revision": space.revision,
        "chunking": space.chunking,
        "reranker": settings.reranker,
        "generator": list(settings.generator),
        "search": asdict(SearchTuning()),
        "limit": limit,
    }


def _about(record: dict[str, Any]) -> dict[str, Any]:
    """Return what a baseline says about the run that made it."""
    return {name: record[name] for name in ("at", "version", "commit", "settings")} | {
        "metrics": {name: round(metric["value"], 4) for name, metric in record["metrics"].items()}
    }


def _asked(baseline: dict[str, dict[str, float]], result: "Result", limit: int | None) -> dict[str, dict[str, float]]:
    """Return the part of the baseline that a limited run asked; all of it otherwise, so that nothing goes missing."""
    if limit is None:
        return baseline
    return {
        measure: {question: value for question, value in values.items() if question in result.scores.get(measure, {})}
        for measure, values in baseline.items()
    }


def _show(records: list[dict[str, Any]], compared: list["Comparison"], failures: list[str]) -> None:
    for record in records:
        print(
            f"{record['suite']} ({record['mode']}): {counted(record['documents'], 'document')},"
            f" {counted(record['chunks'], 'chunk')} in {record['ingest_seconds']} s;"
            f" a search {record['question_ms']['p50']} ms (p95 {record['question_ms']['p95']})"
        )
        show_table(
            ["Measure", "Value", "95 % interval", "Questions"],
            [
                [name, f"{metric['value']:.4f}", f"{metric['low']:.4f} to {metric['high']:.4f}", metric["questions"]]
                for name, metric in record["metrics"].items()
            ],
            flexible="Measure",
            empty="Nothing was measured.",
        )
        if refusals := record["refusals"]:
            print(
                f"Refusals: precision {refusals['precision']:.3f}, recall {refusals['recall']:.3f}"
                f" ({refusals['unanswerable']} of {refusals['questions']} questions have no answer)"
            )
    if compared:
        show_table(
            ["Gate", "Measure", "Baseline", "Now", "Difference", "p", "Verdict"],
            [_verdict(one) for one in compared],
            flexible="Measure",
            empty="",
        )
    for failure in failures:
        note(f"not ingested: {printable(failure)}", style="red")


def _with_change(value: float | None, change: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:.4f}" if change is None else f"{value:.4f} ({change:+.4f})"


def _verdict(one: "Comparison") -> list[str]:
    return [
        f"{one.suite}/{one.mode}",
        one.measure,
        f"{one.baseline:.4f}",
        f"{one.value:.4f}",
        f"{one.difference:+.4f}",
        f"{one.p_value:.3f}",
        "LOSS" if one.is_loss else "ok",
    ]
