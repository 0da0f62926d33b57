#!/bin/sh
# Install what `make bench-peers` compares Echo with into an environment of its own: .tools/peers.
set -eu
cd "$(dirname "$0")/.."
uv=$(sh scripts/setup.sh --print-uv)
[ -x .tools/peers/bin/python ] || "$uv" venv --quiet --python .venv/bin/python .tools/peers
# The list is complete; without dependencies nothing is added that it leaves out on purpose (peers.overrides.txt).
"$uv" pip install --quiet --no-deps --require-hashes --python .tools/peers/bin/python -r requirements/peers.txt
