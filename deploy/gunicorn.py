"""The web server's settings, the same at home and in a container. gunicorn reads this file; WEB_CONCURRENCY,
WEB_THREADS and LOG_LEVEL move what may need moving.

Many threads, because a chat spends its time waiting for a model, and holds no connection to the database meanwhile.
`timeout` is no limit of a request here: a threaded worker answers the arbiter's heartbeat while its threads wait, and
every wait in the service has a bound of its own.
"""

import gc
import math
import os
import tempfile
import threading
from pathlib import Path

from observability import metrics_folder
from observability.logs import configure

metrics_folder.prepare()  # its processes count together, and whichever is asked tells all
tempfile.gettempdir()  # found now, once for all: looked for when it is full, it would be some other folder, or none
wsgi_app = "config.wsgi:application"
bind = "0.0.0.0:" + os.environ.get("PORT", "8002")
worker_class = "deploy.web_worker.BoundedThreadWorker"
workers = int(os.environ.get("WEB_CONCURRENCY") or "2")
threads = int(os.environ.get("WEB_THREADS") or "64")
preload_app = True  # load Django once, fork it
timeout = 120
# who asked is answered before the process ends, also where a model takes its time: a follow-up asks it twice
graceful_timeout = 25 + math.ceil(2 * float(os.environ.get("LLM_TIMEOUT_S") or "60"))
limit_request_line = 8190  # a search of 500 characters, each of twelve when encoded
forwarded_allow_ips = ""  # whose word is taken for what, TRUSTED_PROXIES says alone (config/proxies.py)
worker_connections = 1000  # of a process, most of which have nothing to say
keepalive = 75  # longer than a load balancer's, which must be the one to close
accesslog = "-"
logger_class = "deploy.access_log.EscapingLogger"
access_log_format = '%(h)s "%(m)s %(U)s %(H)s" %(s)s %(B)s %(M)sms'  # no query strings: they may hold questions
loglevel = os.environ.get("LOG_LEVEL", "info").lower()
logconfig_dict = configure("json" if os.environ.get("LOG_FORMAT") == "json" else "line", loglevel.upper())
logconfig_dict["loggers"] |= {name: {"propagate": True} for name in ("gunicorn.error", "gunicorn.access")}
control_socket_disable = True
_memory = Path("/dev/shm")  # noqa: S108  # gunicorn makes unnamed files there
worker_tmp_dir = str(_memory) if _memory.is_dir() else None  # heartbeats must not wait for a disk


def post_worker_init(worker: object) -> None:
    """Load the local model beside the first requests, so that the first question does not wait for it."""
    threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()


def _warm_up() -> None:
    from knowledge.composition import warm_up

    warm_up()
    # What was loaded stays. To look through all of it for garbage, again and again, stops every thread for 0.2 s.
    gc.collect()
    gc.freeze()
