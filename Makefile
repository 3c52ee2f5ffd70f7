# Each target sets up .venv itself. PYTHON is the interpreter it is made with.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv

.PHONY: install demo test faults chaos bench lint lock contract

install: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make install PYTHON=python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "no venv module: apt-get install python3-venv"; exit 2; }
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@echo "installing into .venv (the first time takes some minutes: torch is large)"
ifdef UV_TORCH_BACKEND
	@# The lock's hashes are those of the default torch; another build of the same version has others.
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --no-verify-hashes -c requirements.lock -e ".[train,local,s3,test]"
else
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
endif
	@touch $@

demo: install
	$(BIN)/intentloop demo $(ARGS)

test: install
	$(BIN)/python -m pytest $(ARGS)

faults: install
	$(BIN)/python -m pytest tests/faults -m "long or not long" $(ARGS)

chaos: install
	$(BIN)/python -m tests.faults.chaos --minutes $(or $(MINUTES),20) --seed $(or $(SEED),1)

bench: install
	$(BIN)/python -m bench.ingest --two $(ARGS)
	$(BIN)/python -m bench.latency
	$(BIN)/python -m bench.growth

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock:
	$(UV) pip compile --quiet --all-extras --generate-hashes --no-emit-index-url --python-version 3.11 pyproject.toml -o requirements.lock

contract: install
	$(BIN)/python -c 'import yaml; from schema.asyncapi import asyncapi; print(yaml.safe_dump(asyncapi(), allow_unicode=True, sort_keys=False), end="")' > schema/asyncapi.yaml
	$(BIN)/intentloop migrate --sql > schema/create_intent_training_tables.sql
