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

# Runs one step with its output in a file; says at the end how it went. Steps of two lanes run side by side.
run_step() {
    local name=$1 started=$SECONDS status word=ok
    shift
    "$@" </dev/null >"$work/$name.output" 2>&1
    status=$?
    ((status == 0)) || word="FAILED (exit $status)"
    printf '%-16s %-18s %4d s\n' "$name" "$word" $((SECONDS - started)) >"$work/$name.line"
}

# Shows what a step printed, whole; called when nothing else writes.
show_step() {
    local name=$1
    [[ -e $work/$name.line ]] || return 0
    printf '\n=== %s\n' "$name"
    cat "$work/$name.output"
    lines+=("$(cat "$work/$name.line")")
    grep -q FAILED "$work/$name.line" && failed=1
    # pytest's own last line, said again below, where a reader (and CI) looks for it.
    local summary
    summary=$(grep -E '(passed|failed|error|no tests ran).* in [0-9.]+s' "$work/$name.output" | tail -1)
    [[ -n $summary ]] && summaries+=("$name: $summary")
    return 0
}

is_wanted() { [[ -z ${ONLY:-} || " $ONLY " == *" $1 "* ]]; }

lane() {
    local name
    for name in "$@"; do
        is_wanted "$name" || continue
        case $name in
        ruff) run_step ruff ruff check . ;;
        format) run_step format ruff format --check . ;;
        mypy) run_step mypy mypy ;;
        imports) run_step imports lint-imports ;;
        gate) run_step gate ragecho eval run --suite smoke --gate ;;
        *) run_step "$name" pytest -q "tests/$name" ;;
        esac
        printf 'done: %s' "$(cat "$work/$name.line")" >&2
        echo >&2
    done
}

# Most tests wait for servers they started: two lanes take little more time than the longer one alone.
first=(ruff format mypy imports unit e2e)
second=(contract db conformance docs gate)
lane "${first[@]}" &
lane "${second[@]}"
wait
for name in "${first[@]}" "${second[@]}"; do show_step "$name"; done

printf '\n=== Steps\n'
printf '%s\n' "${lines[@]}"
printf '\n=== Tests\n'
printf '%s\n' "${summaries[@]:-}"
exit "$failed"
