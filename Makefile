# What people type. Each target sets up what it needs; nothing is installed outside this folder.
.PHONY: help run test check test-deep bench rehearsal lock audit docs format clean

PY := .venv/bin/python
# Without compiled files each start of a server reads all of its sources again, which takes as long as the start itself.
unexport PYTHONDONTWRITEBYTECODE
FAST := not slow and not deep and not peer and not clients

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: ## start Hansa on localhost:8008, with its own database, data in ./data
	@scripts/bootstrap runtime
	@exec .venv/bin/hansa run

test: check ## all tests but the long proofs: real PostgreSQL, real clients, Synapse as oracle
	@scripts/bootstrap peer bridge clients rust programs elasticsearch hdfs
	$(PY) -m pytest --durations=15

check: ## format, lint, types, import rules, rules about the source, fast tests; under a minute
	@scripts/bootstrap dev
	.venv/bin/ruff format --check --quiet .
	.venv/bin/ruff check --quiet .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache >/dev/null || .venv/bin/lint-imports --no-cache
	$(PY) -m pytest -q --no-header -m "$(FAST)" tests/test_repository.py tests/test_coverage.py tests/core

test-deep: ## the long proofs: differential tests, crashes, fuzzing
	@scripts/bootstrap dev peer bridge clients elasticsearch hdfs
	$(PY) -m pytest -m deep --durations=15

bench: ## the inner loops, one result line each
	@scripts/bootstrap dev
	$(PY) -m bench

rehearsal: ## replay known waves of spam against the shipped packs of rules
	@scripts/bootstrap dev
	$(PY) -m bench.rehearsal
	@said=$$($(PY) -m pytest -q -s -m "deep or slow" -k "waves or wave_reaches" tests/admin/spam/test_rehearsal_over_http.py tests/admin/spam/test_rehearsal_of_many_servers.py 2>&1); code=$$?; \
	echo "$$said" | grep -E "blocked$$|^p95|hits of|^E  |[0-9] (passed|failed)"; exit $$code

format: ## format and sort imports
	@scripts/bootstrap dev
	.venv/bin/ruff check --quiet --fix-only .
	.venv/bin/ruff format --quiet .

docs: ## write the pages that are made from the code
	@scripts/bootstrap dev
	$(PY) -m scripts.write_docs

lock: ## choose versions anew and write them with their hashes into requirements/
	@scripts/bootstrap dev
	scripts/lock

audit: ## compare the locks with the flaws that are known (requirements/known_flaws.toml)
	@scripts/bootstrap dev
	$(PY) -m scripts.audit_lock

clean: ## remove environments and caches; ./data stays
	rm -rf .venv .venv-peer tests/clients/node_modules tests/clients/rust/target .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf build dist *.egg-info .import_linter_cache
