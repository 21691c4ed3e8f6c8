"""What gunicorn reads by itself when it is started here; its command line and environment win."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

from backoffice import env, logs

env.load(Path(__file__).with_name(".env"))

wsgi_app = "backoffice.wsgi"
bind = f"127.0.0.1:{env.integer('PORT', 8000, 1, 65535)}"
# A thread waits for the database most of the time; processes use the processors.
workers = env.integer("WEB_CONCURRENCY", 4, 1, 100)
threads = 8
# A process that has not given a sign of life; a long answer is no reason, since threads give it.
timeout = 30
# What is being answered when a process is told to end has this long.
graceful_timeout = 30
# It would be one more thing to guard.
control_socket_disable = True
loglevel = "warning"
logconfig_dict = logs.configuration()

# Where processes add up what Prometheus asks for; those that ended keep counting.
if env.text("METRICS_TOKEN") and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="desk-metrics-")


def post_fork(server, worker):
    # Else gunicorn waits for ever for one that hangs before it has begun to work. It has until the
    # timeout to begin.
    worker.notify()


def post_worker_init(worker):
    # What is there for good need not be looked through again and again for what is not: that holds
    # up all threads for a tenth of a second.
    from django.urls import reverse

    # Imports every view.
    reverse("home")
    gc.collect()
    gc.freeze()


def post_request(worker, request, environ, response):
    # Whoever comes to this thread next may send what is no request, and is somebody else.
    logs.current_request.set(None)


def child_exit(server, worker):
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)


def on_exit(server):
    place = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""))
    if place.name.startswith("desk-metrics-"):
        shutil.rmtree(place, ignore_errors=True)
