# `make run` and `make test` are the two commands; `make help` names the rest.
# PYTHON3 names the interpreter that .venv is made from.

PYTHON3 = python3
PY = .venv/bin/python
# the type checker and Django's commands read the settings; nothing is connected to
LINT_ENV = SECRET_KEY=only-for-the-linters CLASSIFIER=embedding DATABASE_URL=postgresql://%2Fnonexistent/none CELERY_BROKER_URL=memory://

.DEFAULT_GOAL = help
.PHONY: help run test setup setup-dev bootstrap create-superuser lint format bench soak backfill backup restore flower lock

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

run: setup  ## bring up the whole service; Ctrl-C stops it
	@exec $(PY) -m deploy.local run

test: setup-dev  ## run the tests against real neighbours
	@exec $(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

setup:  ## install what the service needs into .venv; run nothing
	@$(PYTHON3) deploy/bootstrap/setup.py

setup-dev:  ## install what tests and linters need, too
	@$(PYTHON3) deploy/bootstrap/setup.py --dev

bootstrap: setup  ## bring the database's tables up to date
	@exec $(PY) -m deploy.local exec $(PY) manage.py migrate

create-superuser: setup  ## make an account for the admin
	@exec $(PY) -m deploy.local exec $(PY) manage.py createsuperuser

lint: setup-dev  ## check style, types, import directions and migrations
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(LINT_ENV) $(PY) -m mypy
	$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
	$(LINT_ENV) $(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	$(LINT_ENV) $(PY) -W ignore::RuntimeWarning manage.py lint_migrations
	.venv/bin/hadolint Dockerfile
	.venv/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yaml

format: setup-dev  ## rewrite the code in the house's style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: setup-dev  ## run the benchmarks
	@exec $(PY) -m benchmarks

soak: setup-dev  ## run the full counts of the tests (an hour); the figures stand in docs/operations.md
	@exec $(PY) -m pytest -m soak -s $(PYTEST_ARGS)

backfill: setup  ## label the conversations of the past; BACKFILL_ARGS="--project ID --limit N"
	@exec $(PY) -m deploy.local exec $(PY) manage.py backfill --wait $(BACKFILL_ARGS)

backup: setup  ## copy the database and vectordb into a new folder: make backup DIR=backups/monday
	@exec $(PY) -m deploy.local exec --with-vectordb $(PY) -m deploy.backup create "$(or $(DIR),$(error name a new folder: make backup DIR=backups/monday))"

restore: setup  ## put such a copy back, with `make run` stopped: make restore DIR=backups/monday
	@exec $(PY) -m deploy.local exec --with-vectordb $(PY) -m deploy.backup restore "$(or $(DIR),$(error name the backup: make restore DIR=backups/monday))"

flower: setup  ## the page of queues and workers, on port 5555 (`make run` has it already)
	@exec $(PY) -m deploy.local exec $(PY) -m celery -A config flower --address=127.0.0.1

lock: setup-dev  ## resolve pyproject.toml anew into the requirements files
	$(PY) -m deploy.bootstrap.lock $(LOCK_ARGS)
