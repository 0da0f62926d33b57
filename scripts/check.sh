#!/bin/bash
# The whole check, step by step: every step runs and is timed, the summaries come last, and one failure fails it all.
# CI and `make test` run the same; ONLY="ruff unit" runs the named steps alone.
set -u
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
export PATH="$bin:$PATH" PYTHONDONTWRITEBYTECODE=1

# The identity service's end-to-end tests take as long as all others together.
identity=(tests/e2e/test_{accounts,federation,gateway,identity,log_secrets,login,protect}*.py)

run() {
    case $1 in
    ruff) ruff check . ;;
    format) ruff format --check . ;;
    mypy) mypy ;;
    imports) lint-imports ;;
    gate) ragecho eval run --suite smoke --suite permissions --gate ;;
    e2e-identity) pytest -q "${identity[@]}" ;;
    e2e) pytest -q tests/e2e "${identity[@]/#/--ignore=}" ;;
    *) pytest -q "tests/$1" ;;
    esac
}

# Called for one step, with the folder of the results: its output and how it went are kept there.
if [[ ${1:-} == --step ]]; then
    started=$SECONDS word=ok
    run "$3" </dev/null >"$2/$3.output" 2>&1 || word="FAILED (exit $?)"
    printf '%-16s %-18s %4d s\n' "$3" "$word" $((SECONDS - started)) | tee "$2/$3.line" >&2
    exit 0
fi

steps=(ruff format imports mypy unit e2e-identity e2e db docs conformance contract gate)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wanted=()
for name in "${steps[@]}"; do
    [[ -n ${ONLY:-} && " $ONLY " != *" $name "* ]] || wanted+=("$name")
done

# Most tests wait for servers that they started: two steps at a time.
printf '%s\n' "${wanted[@]}" | xargs -n 1 -P 2 bash "$0" --step "$work"

failed=0
summaries=()
for name in "${wanted[@]}"; do
    printf '\n=== %s\n' "$name"
    cat "$work/$name.output"
    grep -q FAILED "$work/$name.line" 2>/dev/null && failed=1
    [[ -e $work/$name.line ]] || failed=1
    # pytest's own last line, said again below, where a reader (and CI) looks for it.
    summary=$(grep -E '(passed|failed|error|no tests ran).* in [0-9.]+s' "$work/$name.output" | tail -1)
    [[ -n $summary ]] && summaries+=("$name: $summary")
done

printf '\n=== Steps\n'
cat "$work"/*.line
printf '\n=== Tests\n'
printf '%s\n' "${summaries[@]:-}"
exit "$failed"
