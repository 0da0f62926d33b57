# Echo's commands. `make serve` is all that a fresh clone needs; see `make help`.
.DEFAULT_GOAL := help
SHELL := /bin/sh
ARGS ?=

.PHONY: help serve test lock bench bench-peers bench-peers-torch soak eval clean setup setup-dev

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: ## Install everything that serving needs (also done by the others)
	@sh scripts/setup.sh

setup-dev: ## Install what the checks need, too
	@sh scripts/setup.sh --dev

serve: setup ## Run Echo on http://127.0.0.1:8000 (options: ARGS="--port 9000")
	@exec .venv/bin/ragecho serve $(ARGS)

test: setup-dev ## Run the whole check, as CI does (ONLY="ruff unit" for some steps)
	@bash scripts/check.sh

lock: ## Recompile requirements/*.txt (UPGRADE=1 takes newer versions)
	@sh scripts/lock.sh

bench: setup-dev ## Measure speed (benchmarks/)
	@.venv/bin/python -m benchmarks $(ARGS)

bench-peers: setup-dev ## Compare speed and quality with other stacks, installed apart from Echo
	@sh scripts/setup_peers.sh
	@.venv/bin/python -m benchmarks.peers $(ARGS)

bench-peers-torch: setup-dev ## The same, the other stacks embedding questions by PyTorch (6 GB)
	@sh scripts/setup_peers.sh torch
	@.venv/bin/ragecho models fetch all-MiniLM-L6-v2
	@.venv/bin/python -m benchmarks.peers --torch $(ARGS)

soak: setup-dev ## Run under load and random kills for a while (benchmarks/soak.py), then random lives of documents
	@.venv/bin/python -m benchmarks.soak $(ARGS)
	@.venv/bin/pytest -q --hypothesis-profile=soak --timeout=3600 tests/db/test_lifecycle.py tests/db/test_reindex.py \
		tests/e2e/test_identity_inputs.py

eval: setup-dev ## Measure answer quality on every suite
	@.venv/bin/ragecho eval run --suite all $(ARGS)

clean: ## Remove what was installed and cached here; the data directory stays
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist reports tests/conformance/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
