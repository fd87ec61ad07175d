# make demo: the whole recipe on a small generated corpus, ending with a table of results
# make test: style checks and all tests that are not slow;  make test-all: the slow ones too
.PHONY: demo test test-all lint venv clean

BIN := .venv/bin
# Symbolic links name files that are checked where they lie.
SHELL_FILES = $(shell git ls-files -s '*.sh' '.ci/run' | grep -v ^120000 | cut -f 2)

demo: venv
	egs/librispeech/run.sh --corpus mini

test: lint
	$(BIN)/python -m pytest -q -n 2 -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -q -n 2

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/shellcheck -x -P SCRIPTDIR -P SCRIPTDIR/.. $(SHELL_FILES)
	$(BIN)/shfmt -i 2 -ci -d $(SHELL_FILES)

venv:
	tools/make_venv.sh

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
