# demo and test do all their own set-up; the others use it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help demo test slow-test lab readme docs constraints image-test labelstudio-test clean

help:                 ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

demo: $(READY)        ## the shipped synthetic study: prepare, train, evaluate
	@$(BIN)/anklealign demo

test: $(READY)        ## everything that must hold, stopping at the first failure
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tests/all.sh

slow-test: $(READY)   ## the end-to-end tests that take longest
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m slow --durations=10 tests

lab: $(READY)         ## the notebooks in JupyterLab
	@$(BIN)/jupyter lab nbs --LabApp.default_url=/lab/tree/index.ipynb

readme: $(READY)      ## README.md from nbs/index.ipynb
	@$(BIN)/python tests/readme.py .

docs: $(READY)        ## the documentation site (needs Quarto)
	@command -v quarto >/dev/null || { echo "make docs needs Quarto: get it from https://quarto.org/docs/get-started/"; exit 1; }
	@$(BIN)/nbdev-docs
	@$(BIN)/anklealign page _docs/try # the page "Try it" shows it

constraints: $(READY)  ## constraints.txt, the versions of the images, from those installed here
	@$(BIN)/python tests/constraints.py > constraints.new && mv constraints.new constraints.txt

image-test: $(READY)  ## build the serve image and use it; IMAGES="serve full" for both (needs Docker, or root and Podman)
	@$(BIN)/python tests/image.py $(IMAGES)

labelstudio-test: $(READY)  ## the whole loop on a Label Studio server of its own (sets it up in .labelstudio, minutes)
	@$(BIN)/python tests/labelstudio.py

clean:                ## remove what make made
	rm -rf .venv .labelstudio build dist _docs _proc *.egg-info

$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "anklealign needs Python 3.11 or later, and there is no $(PYTHON); install it, or say make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "anklealign needs Python 3.11 or later, and $(PYTHON) is `$(PYTHON) -V`; say make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) lacks its venv module: install it (Debian: apt install python3-venv)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Setting up .venv with anklealign and what it needs: once, some minutes, most of them for PyTorch ..."
	@$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]' || { echo "The packages could not be installed: see pip's words above; a network or a package index is needed once."; exit 1; }
	@touch $(READY)
