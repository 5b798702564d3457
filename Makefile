# The two commands are `make demo` and `make test`; `make` alone lists the rest.
# Everything is installed into .venv with plain pip, once, and again when settings.ini changes.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
MIN    := $(shell sed -n 's/^min_python *= *//p' settings.ini)
SITE   := .venv-site
PACKAGING := settings.ini setup.py pyproject.toml

.PHONY: help demo test lab site test-site export execute reproduce links coverage slow clean
.DELETE_ON_ERROR:

help:
	@echo "make demo       train on the bundled digits; loss plot, generated digits and animation in out/"
	@echo "make test       every check: ruff, mypy, pytest, each notebook"
	@echo "make lab        open the notebooks in JupyterLab"
	@echo "make site       the course and the API as a website, in _build/html; needs Node.js with npm"
	@echo "make test-site  the website in headless Chromium"
	@echo
	@echo "make export     after editing a notebook: its module and the README from it, outputs cleaned"
	@echo "make execute    run all notebooks in full and keep their outputs (one: NB=nbs/05_sampling.ipynb)"
	@echo "make reproduce  run them in full and compare with the committed outputs, byte for byte"
	@echo "make links      after a change of user, repo or branch in settings.ini: every link that names them"
	@echo "make coverage   the tests, with the lines and branches that none of them reaches"
	@echo "make slow       the tests that download: the wheel in a truly fresh environment"
	@echo "make clean      remove what the other commands made, but for .venv and out/"

demo: $(VENV)/.installed
	$(BIN)/ddpm-abc demo --out out

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

lab: $(VENV)/.installed-dev
	$(BIN)/jupyter lab nbs

site: $(SITE)/.installed
	$(SITE)/bin/python site/build.py

test-site: $(SITE)/.installed-test
	$(SITE)/bin/python -m pytest site/tests

export: $(VENV)/.installed-dev
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean
	$(BIN)/python tools/readme.py

execute: $(VENV)/.installed-dev
	$(BIN)/python tools/execute.py $(NB)
	$(BIN)/python tools/readme.py

reproduce: $(VENV)/.installed-dev
	$(BIN)/python tools/execute.py --check $(NB)

links: $(VENV)/.installed-dev
	$(BIN)/python tools/links.py
	$(BIN)/nbdev_export
	$(BIN)/python tools/readme.py

coverage: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --cov

slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf build dist htmlcov .coverage *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python $(MIN) or newer, or name yours: make demo PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(MIN)".split("."))))' || { \
		echo "ddpm_abc needs Python $(MIN) or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1): name a newer one, as in make demo PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made $(PACKAGING)
	$(BIN)/python -m pip install -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made $(PACKAGING)
	$(BIN)/python -m pip install -e ".[dev,peers]"
	@touch $(VENV)/.installed $@

# The site has a small environment of its own: it needs no torch.
$(SITE)/.installed: settings.ini
	$(PYTHON) -m venv $(SITE)
	sed -n 's/^site_requirements *= *//p' settings.ini | tr ' ' '\n' > $(SITE)/requirements.txt
	$(SITE)/bin/python -m pip install -q -r $(SITE)/requirements.txt
	@touch $@

$(SITE)/.installed-test: $(SITE)/.installed
	sed -n 's/^site_test_requirements *= *//p' settings.ini | tr ' ' '\n' > $(SITE)/requirements.txt
	$(SITE)/bin/python -m pip install -q -r $(SITE)/requirements.txt
	@touch $@
