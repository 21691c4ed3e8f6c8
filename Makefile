PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# loadgroup keeps tests that share a server or a large history in one process, which sets it up once.
# Compiled tests are always kept, because compiling takes half of the start-up time.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist loadgroup

.PHONY: help run test test-fast test-slow check bench load faults format outdated tools hostile scan

help: ## list all targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/installed ## serve http://127.0.0.1:8000 with demo conversations
	@$(BIN)/python manage.py serve

test: $(VENV)/installed-dev tools ## run all tests except the slow ones: six minutes on two processors
	@$(PYTEST) -m "not slow"

test-fast: $(VENV)/installed-dev ## run only the quick tests, without browser, servers or system packages
	@$(PYTEST) -m "not slow and not system and not thorough"

test-slow: $(VENV)/installed-dev tools ## run the slow tests
	@$(PYTEST) -m slow

# Install a system package unless it is there: its name, a command that succeeds if it is there, and
# what to do instead.
define need
	@{ $(2); } >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	    && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(1) >/dev/null \
	    && { $(2); } >/dev/null; \
	  } || { echo "The tests need $(1): apt-get install $(1)$(3)." >&2; exit 1; }
endef

tools: ## install the system packages that the tests need
	$(call need,chromium-headless-shell,command -v chromium-headless-shell || test -n "$$BROWSER_PATH", or set BROWSER_PATH)
	$(call need,pgbouncer,command -v pgbouncer || test -x /usr/sbin/pgbouncer)
	$(call need,nginx-light,command -v nginx || test -x /usr/sbin/nginx)
	$(call need,systemd,test "$$(uname)" != Linux || command -v systemd-analyze)
	$(call need,openssl,command -v openssl)
	$(call need,npm,command -v npm)

check: $(VENV)/installed-dev ## lint, and check settings and migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy --no-error-summary
	$(BIN)/djade --check --target-version 5.2 $$(git ls-files 'templates/*.html')
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') \
	  AUDIT_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') \
	  ALLOWED_HOSTS=desk.example.com \
	  $(BIN)/python manage.py check --deploy --fail-level WARNING --database default
	$(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

# make bench BENCH='--sizes 10000,100000,1000000 --write "2 cores, 24 GB"' measures the list at a
# million conversations too, which takes more than an hour, and writes docs/benchmarks.md.
bench: $(VENV)/installed ## measure pages and exports, see docs/benchmarks.md
	@$(BIN)/python manage.py bench $(BENCH)

# Fifty people for five minutes at 100,000 conversations, while others export and search.
LOCUST := .data/locust
load: $(VENV)/installed $(LOCUST) ## simulate fifty people for five minutes, see docs/reliability.md
	@LOCUST=$(LOCUST)/bin/locust $(BIN)/python manage.py bench --only load $(BENCH)

# Breaks a database or gunicorn in every way listed in docs/reliability.md, and prints its table.
faults: $(VENV)/installed-dev ## break databases and gunicorn, see docs/reliability.md
	@$(BIN)/python -m pytest tests/site/test_faults_*.py

hostile: $(VENV)/installed-dev ## send a thousand bad requests to each address: an hour
	@$(BIN)/python -m pytest tests/site/test_hostile_input.py --hypothesis-profile=hostile

# Runs against the site with demo conversations. Needs openssl.
SCAN := .data/scan
scan: $(VENV)/installed-dev $(SCAN)/sqlmap $(SCAN)/wapiti ## attack the site with sqlmap and wapiti: half an hour
	@DESK_DATA_DIR=$(SCAN) $(BIN)/python -m tests.site.scan

# These programs get their own virtual environments.
$(SCAN)/sqlmap: PACKAGE := sqlmap==1.10.10
$(SCAN)/wapiti: PACKAGE := wapiti3==3.2.3
$(LOCUST): PACKAGE := locust==2.47.0
$(SCAN)/sqlmap $(SCAN)/wapiti $(LOCUST):
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check $(PACKAGE) || { rm -rf $@; exit 1; }

# Within the same series: 5.2.19 to 5.2.20, 26.2 to 26.3.
outdated: $(VENV)/installed-dev ## print newer releases of our packages within the same series
	@mkdir -p .data && sed '/^-r/d; s/==/~=/' requirements.txt requirements-dev.txt >.data/series
	@$(BIN)/python -m pip install --disable-pip-version-check --dry-run --upgrade --no-deps \
	  --requirement .data/series >.data/outdated
	@sed -n 's/^Would install //p' .data/outdated | tr ' ' '\n'

format: $(VENV)/installed-dev ## format the code and the templates
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/djade --target-version 5.2 $$(git ls-files 'templates/*.html')

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/installed
