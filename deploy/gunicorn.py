"""The web server's settings, the same at home and in a container. gunicorn reads this file; WEB_CONCURRENCY,
WEB_THREADS and LOG_LEVEL move what may need moving.

Threads, because a chat spends its time waiting for a model or the vector database. `timeout` is no limit of a
request here: a threaded worker answers the arbiter's heartbeat while its threads wait, and every wait in the service
has a bound of its own.
"""

import os
from pathlib import Path

wsgi_app = "config.wsgi:application"
bind = "0.0.0.0:" + os.environ.get("PORT", "8002")
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = int(os.environ.get("WEB_THREADS", "16"))
preload_app = True  # load Django once, fork it
timeout = 120
graceful_timeout = 25
keepalive = 75  # longer than a load balancer's, which must be the one to close
accesslog = "-"
access_log_format = '%(h)s "%(m)s %(U)s %(H)s" %(s)s %(B)s %(M)sms'  # no query strings: they may hold questions
loglevel = os.environ.get("LOG_LEVEL", "info").lower()
control_socket_disable = True
_memory = Path("/dev/shm")  # noqa: S108  # gunicorn makes unnamed files there
worker_tmp_dir = str(_memory) if _memory.is_dir() else None  # heartbeats must not wait for a disk


def when_ready(server: object) -> None:
    """Import the views before the workers are forked: none of them has to, and the first request is not slow."""
    from django.urls import get_resolver

    get_resolver().url_patterns  # noqa: B018  # reading it imports them
