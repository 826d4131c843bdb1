PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: reports test slow soak lint lab bench lock clean

reports: $(READY) ## every stage of every shipped market, into reports/index.html
	$(BIN)/insight run || [ $$? -eq 3 ] # 3: all published, a gate stops a later stage

test: $(READY) ## the whole suite but the slow studies, and the notebooks
	$(BIN)/python -m pytest --numprocesses 2 -m "not slow"

slow: $(READY) ## many-seed studies and long fault campaigns
	$(BIN)/python -m pytest --numprocesses 2 -m slow

soak: $(READY) ## the crucible, resumed where it stood: hours
	$(BIN)/python -m tests.crucible draws --seeds 1-300
	$(BIN)/python -m tests.crucible relations --seeds 1-20
	$(BIN)/python -m tests.crucible known --seeds 1-100
	$(BIN)/python -m tests.crucible report

lint: $(READY) ## format, lint, types, generated pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m docs.rows --check

lab: $(READY) ## JupyterLab on the notebooks
	$(BIN)/jupyter lab --config=.jupyter/lab_config.py

bench: $(READY) ## ratios from one run on this machine
	$(BIN)/python -m benchmarks

lock: $(READY) ## refresh requirements.lock from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --all-extras \
	  --no-header --no-annotate --no-emit-index-url --output-file requirements.lock pyproject.toml

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean: ## everything that was made here
	rm -rf .venv .insight data reports/.insight reports/index.html reports/*-*
