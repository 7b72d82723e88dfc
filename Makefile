# moodstream: `make` alone explains what there is. Needs Python 3.11 or newer and git, nothing else.

PYTHON  ?= python3
VENV    ?= .venv
EXTRAS  ?= features,kafka,metrics,postgres,serve,exports,onnx,test,check
LAKE    ?= demo-lake
WORKERS ?= auto

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

# One thread each: the tests run side by side, and the ratios of the benchmark are about single cores.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo serve-demo live-demo kill-test failover-test flink-live soak test check format bench bench-live bench-serve models models-full constraints clean

help: ## This text
	@printf 'moodstream: audio, MIDI and video in; valence-arousal curves and emotion episodes out.\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nThe first one builds $(VENV) (some 6 GB, most of it torch; a minute or two with a warm package cache).\n'
	@printf 'After that, `. $(BIN)/activate` and `moodstream --help`; README.md goes on from there.\n'

install: $(STAMP) ## Build .venv with what was tested (constraints.txt); runs by itself before the others

$(STAMP): pyproject.toml constraints.txt infra/install.sh
	@bash infra/install.sh '$(PYTHON)' '$(VENV)' '$(EXTRAS)'
	@touch $@

demo: $(STAMP) ## Analyse the bundled demo media into ./demo-lake, print curves, write demo-report.html
	@bash infra/demo.sh '$(BIN)' '$(LAKE)'

serve-demo: $(STAMP) ## Serve ./demo-lake as a page and by REST at http://127.0.0.1:8080 (made first if it is not there)
	@test -d '$(LAKE)' || bash infra/demo.sh '$(BIN)' '$(LAKE)'
	$(BIN)/moodstream index '$(LAKE)'
	$(BIN)/moodstream serve --lake '$(LAKE)' --media-root demo $(SERVE_ARGS)

live-demo: $(STAMP) ## A real Kafka broker, a call, songs and MIDI replayed live, and what the lake holds then
	@bash infra/live_demo.sh '$(BIN)' live-lake $(LIVE_SPEED)

kill-test: $(STAMP) ## 50 live streams, their process killed 30 times, the rows compared with an undisturbed run
	$(BIN)/python -m tests.support.kill_run --streams 50 --kills 30 --seed 1

failover-test: $(STAMP) ## Three brokers under a live process, each killed once, and what is committed then
	$(BIN)/python -m tests.support.failover_run --calls 20 --kills 3

flink-live: $(STAMP) ## The live pipeline on a real Flink cluster, its task manager killed twice, and what is committed then
	$(BIN)/python -m tests.support.flink_run --calls 8 --seconds 60 --kills 2

soak: $(STAMP) ## 20 calls for two hours: does memory stay flat? (quicker: make soak SOAK_ARGS="--hours 0.2")
	$(BIN)/python -m infra.soak $(SOAK_ARGS)

test: $(STAMP) ## The whole test suite (one part: make test PYTEST_ARGS=tests/sinks)
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

check: $(STAMP) ## Layout, lint, format and types
	$(BIN)/python infra/check.py
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy models transforms sinks pipelines serving infra/*.py infra/flink/*.py infra/kafka/*.py

format: $(STAMP) ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Speed and memory on real material: a table, and bench.json (quick: make bench BENCH_ARGS=--quick)
	$(BIN)/python infra/bench.py --json bench.json $(BENCH_ARGS)

bench-live: $(STAMP) ## How many calls one core carries live, on a real broker (5 minutes a level: make bench-live LIVE_ARGS=--full)
	$(BIN)/python infra/bench_live.py --json bench-live.json $(LIVE_ARGS)

bench-serve: $(STAMP) ## How fast the service is: curves, search, live rows, the page (one part: make bench-serve SERVE_BENCH_ARGS='--only curve')
	$(BIN)/python infra/bench_serve.py --json bench-serve.json $(SERVE_BENCH_ARGS)

models: $(STAMP) ## Train every model again from the corpora (MOODSTREAM_DATA or ../shared/data), resuming what was stopped
	@bash infra/models.sh '$(BIN)' 1

models-full: $(STAMP) ## The same, measured with three seeds of the folds
	@bash infra/models.sh '$(BIN)' 3

constraints: $(STAMP) ## Write down the versions that are installed, after they were tested
	@$(BIN)/python infra/constraints.py > constraints.txt.new
	@mv constraints.txt.new constraints.txt && touch $(STAMP)

clean: ## Remove .venv, caches and what the demo and the benchmark wrote
	rm -rf $(VENV) $(LAKE) live-lake demo-report.html demo-export bench.json bench-live.json bench-serve.json build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
