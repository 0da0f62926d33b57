#!/bin/sh
# Bring a bare machine to where Echo can run; everything lands in this folder (.tools, .venv) and the model cache.
#
#   sh scripts/setup.sh               what `ragecho serve` needs
#   sh scripts/setup.sh --dev         and what the checks need
#   sh scripts/setup.sh --print-uv    only find or install uv, and print its path
#
# Needs a Python with pip to get uv (or uv itself), and the package index. Repeating it costs next to nothing: each part
# leaves a stamp named by the hash of what it was made from.
set -eu
cd "$(dirname "$0")/.."
python_wanted=3.13
python_least=3.12
# uv 0.5 and later understand everything used here; an older one on the PATH is passed over.
uv_least_minor=5

# Trust what the machine trusts: behind a company's proxy uv's own list of authorities is not enough.
if [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ]; then
    export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"
fi

say() { printf '%s\n' "set-up: $*" >&2; }
fail() {
    printf '%s\n' "set-up failed: $*" >&2
    exit 1
}

uv_is_new_enough() {
    version=$("$1" --version 2>/dev/null | cut -d' ' -f2) || return 1
    major=${version%%.*}
    rest=${version#*.}
    minor=${rest%%.*}
    case $major$minor in *[!0-9]* | '') return 1 ;; esac
    [ "$major" -gt 0 ] || [ "$minor" -ge "$uv_least_minor" ]
}

find_uv() {
    for candidate in "${UV:-}" .tools/bin/uv "$(command -v uv || true)"; do
        if [ -n "$candidate" ] && uv_is_new_enough "$candidate"; then
            uv=$candidate
            return 0
        fi
    done
    return 1
}

install_uv() {
    # A version manager's `python3` may refuse (this folder names a version it lacks): try on until one has pip.
    for python in python3 python3.13 python3.12 python3.11 /usr/bin/python3 /usr/local/bin/python3; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            say "installing uv into .tools with $python -m pip"
            if PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check --no-input --upgrade --target .tools \
                --no-deps --only-binary :all: --require-hashes -r requirements/tools.txt >&2; then
                return 0
            fi
        fi
    done
    return 1
}

ensure_uv() {
    find_uv && return 0
    install_uv || fail "neither uv nor a Python with pip was found. Install one of them
    (Debian, Ubuntu: apt-get install python3-pip; or: pipx install uv) and run this again."
    find_uv || fail "the uv that pip installed into .tools does not run on this machine; install uv by its own means."
}

venv_works() { [ -x .venv/bin/python ] && .venv/bin/python -I -S -c 'import sys' 2>/dev/null; }

make_venv() {
    say "making .venv"
    # An installed Python first: no download when it can be avoided.
    for version in "$python_wanted" ">=$python_least"; do
        found_words=$("$uv" venv --quiet --clear --no-python-downloads --python "$version" .venv 2>&1) && return 0
    done
    say "$found_words"
    say "no Python $python_least or later is installed; asking uv for $python_wanted"
    if "$uv" python install "$python_wanted" >&2; then
        "$uv" venv --quiet --clear --python "$python_wanted" .venv && return 0
    fi
    fail "Echo needs Python $python_least or later; none is installed for $(id -un), and uv could not download one.
    Install Python $python_wanted (your system's packages, pyenv, or 'uv python install $python_wanted' where its
    downloads are reachable), so that 'python$python_wanted' is on the PATH, and run this again."
}

hash_of() { cat "$@" | sha256sum | cut -c1-32; }
command -v sha256sum >/dev/null 2>&1 || hash_of() { cat "$@" | shasum -a 256 | cut -c1-32; } # macOS

# part NAME HASH: true when NAME has to be done (again).
is_stale() { [ ! -e ".venv/.stamps/$1-$2" ]; }
stamp() {
    mkdir -p .venv/.stamps
    rm -f ".venv/.stamps/$1-"*
    : >".venv/.stamps/$1-$2"
}

# The conformance suite drives the identity service with a client written in JavaScript.
node_is_new_enough() {
    node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' \
        >/dev/null 2>&1 && npm --version >/dev/null 2>&1
}

install_requirements() {
    base_hash=$(hash_of requirements/base.txt requirements/build.txt)
    if is_stale base "$base_hash"; then
        say "installing requirements/base.txt"
        # Compiled now, once: it halves the time of every first start, and some machines never write bytecode themselves.
        "$uv" pip install --quiet --compile-bytecode --python .venv --require-hashes \
            -r requirements/base.txt -r requirements/build.txt >&2
        stamp base "$base_hash"
    fi
    project_hash=$(hash_of pyproject.toml sdk/pyproject.toml)
    if is_stale project "$project_hash"; then
        say "installing Echo itself"
        # The build back end is in requirements/build.txt, pinned: an isolated build would fetch an unpinned one.
        "$uv" pip install --quiet --python .venv --no-deps --no-build-isolation -e . -e sdk >&2
        stamp project "$project_hash"
    fi
    # What has not changed is not compiled again; where it may not be written (another user's clone) it does without.
    .venv/bin/python -m compileall -q src sdk >&2 || true
    if [ "$1" = dev ]; then
        dev_hash=$(hash_of requirements/dev.txt requirements/base.txt)
        if is_stale dev "$dev_hash"; then
            say "installing requirements/dev.txt"
            "$uv" pip install --quiet --compile-bytecode --python .venv --require-hashes -r requirements/dev.txt >&2
            stamp dev "$dev_hash"
        fi
        node_hash=$(hash_of requirements/node.txt)
        if ! node_is_new_enough && is_stale node "$node_hash"; then
            say "no Node 20.19 or later is on the PATH: installing requirements/node.txt"
            "$uv" pip install --quiet --python .venv --require-hashes -r requirements/node.txt >&2
            stamp node "$node_hash"
        fi
        s3_hash=$(hash_of requirements/s3-server.txt)
        if is_stale s3 "$s3_hash" || [ ! -x .tools/s3-test-server/bin/moto_server ]; then
            say "installing requirements/s3-server.txt into .tools/s3-test-server"
            "$uv" venv --quiet --clear --python .venv/bin/python .tools/s3-test-server
            "$uv" pip install --quiet --compile-bytecode --python .tools/s3-test-server/bin/python --require-hashes -r requirements/s3-server.txt >&2
            stamp s3 "$s3_hash"
        fi
    fi
}

fetch_models() {
    model_dir=${RAGECHO_MODEL_DIR:-${XDG_CACHE_HOME:-${HOME:-/}/.cache}/ragecho/models}
    # What is configured decides what is fetched; see the command.
    chosen="${RAGECHO_EMBEDDER:-} ${RAGECHO_RERANKER:-} $(grep -hE '^RAGECHO_(EMBEDDER|RERANKER)=' .env 2>/dev/null || true)"
    models_hash=$(printf '%s\n' "$model_dir" "$chosen" | cat - src/ragecho/engines/models/catalogue.py | hash_of -)
    if is_stale models "$models_hash" || [ ! -d "$model_dir" ]; then
        say "fetching the models (once)"
        UV="$uv" .venv/bin/python -m ragecho.engines.models.fetch >&2 || fail "the models could not be fetched (see above)"
        stamp models "$models_hash"
    fi
}

mode=base
case ${1:-} in
'') ;;
--dev) mode=dev ;;
--print-uv)
    ensure_uv
    printf '%s\n' "$uv"
    exit 0
    ;;
*) fail "unknown option $1" ;;
esac

uv=
if ! venv_works; then
    ensure_uv
    make_venv
fi
# uv is looked for only when something is to be installed.
[ -n "$uv" ] || find_uv || ensure_uv
case $uv in /*) ;; *) uv=$(pwd)/$uv ;; esac
install_requirements "$mode"
fetch_models
