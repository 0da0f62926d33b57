#!/bin/sh
# Recompile requirements/*.txt from pyproject.toml and requirements/*.in. Versions stay unless UPGRADE=1 is set.
# No header: it would name the machine's options; no addresses: any index may serve these hashes.
set -eu
cd "$(dirname "$0")/.."
uv=$(sh scripts/setup.sh --print-uv)

compile() {
    output=$1
    shift
    "$uv" pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links ${UPGRADE:+--upgrade} "$@" -o "requirements/$output"
}

compile base.txt --python-version 3.12 pyproject.toml
compile dev.txt --python-version 3.12 --group dev --group eval -c requirements/base.txt
compile build.txt --python-version 3.12 -c requirements/base.txt -c requirements/dev.txt requirements/build.in
compile tools.txt --python-version 3.8 requirements/tools.in # installed by whatever Python the machine has
compile node.txt --python-version 3.12 requirements/node.in
compile s3-server.txt --python-version 3.12 requirements/s3-server.in
compile peers.txt --python-version 3.12 --overrides requirements/peers.overrides.txt requirements/peers.in
compile peers-torch.txt --python-version 3.12 requirements/peers.in requirements/peers-torch.in
if grep -n '://' requirements/*.txt; then
    echo "lock: the lines above carry an address; remove it" >&2
    exit 1
fi
