# The images of docker-compose.yml: `app` for every service, every relay and the provisioning, `nats` for the broker.

FROM nats:2.15.1-alpine AS nats
COPY docker/nats.conf docker/nats-users.conf /etc/nats/ftgo/
# A new volume takes its owner from the folder it is mounted on: so NATS writes its store without being root.
RUN mkdir -p /data && chown 1000:1000 /data
USER 1000:1000
CMD ["nats-server", "--config", "/etc/nats/ftgo/nats.conf"]


FROM python:3.11-slim AS build
# The base has a pip: the environment that is copied from here needs none of its own.
RUN python -m venv --without-pip /venv
COPY requirements-runtime.lock /
RUN pip --python /venv/bin/python install --quiet --no-cache-dir --no-compile \
        --require-hashes --only-binary :all: --requirement /requirements-runtime.lock
# Compiled here, as nothing can be written where it runs. Unchecked: sources in an image don't change.
RUN /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /venv
COPY . /app
RUN /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /app


FROM python:3.11-slim AS app
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin ftgo
COPY --from=build /venv /venv
COPY --from=build /app /app
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    # Threads that hardly allocate shouldn't each keep a heap of their own.
    MALLOC_ARENA_MAX=2 \
    # The container's own network is the boundary: what is reachable from outside, the published ports say.
    FTGO_HOST=0.0.0.0
WORKDIR /app
USER 10001
ENTRYPOINT ["python", "-m"]
