#!/bin/bash
# The whole check, step by step: every step runs and is timed, the summaries come last, and one failure fails it all.
# CI and `make test` run the same; ONLY="ruff unit" runs the named steps alone.
set -u
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
export PATH="$bin:$PATH" PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
declare -a lines summaries

step() {
    local name=$1 status started=$SECONDS
    shift
    [[ -z ${ONLY:-} || " $ONLY " == *" $name "* ]] || return 0
    printf '\n=== %s: %s\n' "$name" "$*"
    "$@" </dev/null 2>&1 | tee "$work/output"
    status=${PIPESTATUS[0]}
    local word=ok
    if ((status != 0)); then
        word="FAILED (exit $status)"
        failed=1
    fi
    lines+=("$(printf '%-16s %-18s %4d s' "$name" "$word" $((SECONDS - started)))")
    # pytest's own last line, said again below, where a reader (and CI) looks for it.
    [[ $1 == pytest ]] && summaries+=("$(grep -E '(passed|failed|error|no tests ran).* in [0-9.]+s' "$work/output" | tail -1)")
    return 0
}

step ruff ruff check .
step format ruff format --check .
step mypy mypy
step imports lint-imports
step unit pytest -q tests/unit
step contract pytest -q tests/contract
step db pytest -q tests/db
step e2e pytest -q tests/e2e
step conformance pytest -q tests/conformance
step docs pytest -q tests/docs
step gate ragecho eval run --suite smoke --gate

printf '\n=== Steps\n'
printf '%s\n' "${lines[@]}"
printf '\n=== Tests: unit, contract, db, e2e, conformance, docs\n'
printf '%s\n' "${summaries[@]:-}"
exit "$failed"
