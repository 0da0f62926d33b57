#!/bin/sh
# Install what `make bench-peers` compares Echo with into an environment of its own: .tools/peers; with `torch` also what embeds
# questions there as the other stacks' guides do, 6 GB: .tools/peers-torch.
set -eu
cd "$(dirname "$0")/.."
name=peers${1:+-$1}
uv=$(sh scripts/setup.sh --print-uv)
[ -x ".tools/$name/bin/python" ] || "$uv" venv --quiet --python .venv/bin/python ".tools/$name"
# The lists are complete; without dependencies nothing is added that they leave out on purpose (peers.overrides.txt).
"$uv" pip install --quiet --no-deps --require-hashes --python ".tools/$name/bin/python" -r "requirements/$name.txt"
