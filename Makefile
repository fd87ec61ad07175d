# make demo         the whole recipe on a small generated corpus, ending with a table of results
# make test         style checks and all tests that are not slow; make test-all: the slow ones too
# make demo-mosei   the sentiment recipe on a generated miniature of its corpus
# make faults       faults in every stage of both recipes, written into docs/reliability.md
# make fuzz         damaged files for every parser, until it had SECONDS=600 of processor time, earlier runs counted;
#                   installs kenlm first, which needs a C++ compiler
# make docs         the documentation site into build/site, warnings as errors
# make audit        the installed packages against PyPI's list of known vulnerabilities; needs the internet
# make pins         whether the versions of constraints.txt fit together, and are built, for each Python and processor;
#                   needs the internet, too
.PHONY: demo demo-mosei test test-all lint docs faults fuzz audit pins venv clean

BIN := .venv/bin
# The recipes use the active virtual environment: here it is ours, whatever the caller's is.
ACTIVE := VIRTUAL_ENV="$(CURDIR)/.venv" PATH="$(CURDIR)/.venv/bin:$$PATH"
# Two at a time, the tests of a file together because they share what they made; one thread each.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile
SHELL_FILES = $(shell find .ci egs/*/local egs/*/*.sh tools utils -type f \( -name '*.sh' -o -path .ci/run \))

demo: venv
	$(ACTIVE) egs/librispeech/run.sh --corpus mini

demo-mosei: venv
	$(ACTIVE) egs/mosei/run.sh --mosei-dir mini

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

faults: venv
	mkdir -p build && : >build/faults.jsonl
	SPEECHREP_FAULTS="$(CURDIR)/build/faults.jsonl" $(PYTEST) tests/faults; tested=$$?; \
	  PYTHONPATH=. $(BIN)/python tests/faults/matrix.py build/faults.jsonl --out docs/reliability.md && exit $$tested

SECONDS = 600
fuzz: venv
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt kenlm
	OMP_NUM_THREADS=1 PYTHONPATH=.:utils $(BIN)/python tests/fuzz/run.py --seconds $(SECONDS) --record tests/fuzz/record.json \
	  --keep fuzz-failed; status=$$?; \
	PYTHONPATH=. $(BIN)/python tests/fuzz/record.py --page docs/reliability.md && exit $$status

# In an environment of its own, so that it is not audited itself; --strict: what cannot be looked up is an error.
audit: venv
	python3 -m venv build/audit && build/audit/bin/pip install --quiet pip-audit==2.10.1
	build/audit/bin/pip-audit --strict --skip-editable --progress-spinner off --path $(wildcard .venv/lib/python3*/site-packages)

# Only wheels, for who has no compiler.
pins: venv
	python3 -m venv build/uv && build/uv/bin/pip install --quiet uv==0.13.9
	rm -rf build/pins && $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/pins .
	for version in 3.10 3.11 3.12 3.13 3.14; do for machine in x86_64 aarch64; do \
	  echo "speechrep[mini,align,test] @ file://$$(ls "$(CURDIR)"/build/pins/*.whl)" | build/uv/bin/uv pip compile --quiet - \
	    --constraint constraints.txt --python-version $$version --python-platform $$machine-manylinux_2_28 \
	    --only-binary :all: --output-file build/pins/$$version.$$machine.txt && \
	    echo "$$version $$machine: $$(grep -c == build/pins/$$version.$$machine.txt) packages" || exit 1; \
	done; done

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@if $(ACTIVE) command -v shellcheck >/dev/null; then $(ACTIVE) shellcheck -x -P SCRIPTDIR -P SCRIPTDIR/.. $(SHELL_FILES); \
	else echo "no shellcheck: shell code is not checked"; fi
	$(BIN)/shfmt -i 2 -ci -d $(SHELL_FILES)

docs: venv
	PYTHONPATH=. $(BIN)/mkdocs build --strict

venv:
	tools/make_venv.sh

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
