# make demo   a first distilled data set, from nothing, in minutes
# make test   the whole test suite, a process a core
# make check  lint, types, format, the documentation, and a compile of every CUDA source
# make docs   the documentation as a site, in build/docs
# make bench  every operator against plain torch, on this machine
# make wheel  dist/*.whl for other Linux machines (docs/install.md)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := 2.13.0
DEMO := runs/demo
STAMP := $(VENV)/.ready
CXX_SOURCES = $(shell find csrc tests -name '*.cpp' -o -name '*.cu' -o -name '*.h')
SOURCES := setup.py pyproject.toml $(shell find csrc -type f 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help demo test lint check docs format bench wheel clean

help:
	@sed -n 's/^# //p' Makefile

# torch comes first and pinned: the extension is built against it, and a CUDA machine gets the CUDA build.
$(STAMP): $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit("pydistill needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@command -v c++ >/dev/null || { echo "pydistill needs a C++ compiler (c++) for its kernels"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==$(TORCH) "setuptools>=77" "pybind11>=2.13" ninja
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[dev]"
	touch $@

demo: $(STAMP)
	$(BIN)/pydistill analyse digits --out $(DEMO)/analysis
	$(BIN)/pydistill distill digits --method dm --preset quick --ipc 1 --network convnet:width=32 --out $(DEMO) --overwrite
	$(BIN)/pydistill evaluate $(DEMO) --protocol quick --network convnet:width=32
	$(BIN)/pydistill distill digits --method kip --preset quick --ipc 1 --out $(DEMO)/kip --overwrite
	$(BIN)/pydistill evaluate $(DEMO)/kip --as-learned

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_SOURCES)

check: lint docs
	$(BIN)/python csrc/compile_cuda.py

docs: $(STAMP)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

bench: $(STAMP)
	$(BIN)/python -m benchmarks.kernels.summary

# torch's libraries come from the torch that the wheel is installed beside, so they stay out of it.
wheel: $(STAMP)
	rm -rf build/wheel
	PYDISTILL_BUILD=cpu $(BIN)/python -m build --wheel --no-isolation --outdir build/wheel
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair build/wheel/*.whl --wheel-dir dist \
	    --exclude 'libtorch*' --exclude 'libc10*' --exclude 'libshm*'

clean:
	rm -rf build dist runs *.egg-info pydistill/*.so pydistill/_build.json
