"""gunicorn reads this when it is started here; its command line and environment win."""

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
# For a process without a sign of life. Long answers are fine: they run in threads of their own.
timeout = 30
# How long a process that is told to stop may finish its requests.
graceful_timeout = 30
# No client and no proxy moves the site below another path: Caddy passes a client's SCRIPT_NAME on.
forwarder_headers = ""
# It would be one more thing to guard.
control_socket_disable = True
loglevel = "warning"
logconfig_dict = logs.configuration()

# Where processes add up their metrics; those of ended processes still count.
if env.text("METRICS_TOKEN") and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="desk-metrics-")


def post_fork(server, worker):
    # Starts the timeout now. Otherwise gunicorn waits forever for a process that hangs at the
    # start.
    worker.notify()


def post_worker_init(worker):
    # Spares garbage collection the permanent objects: going through them holds up all threads for a
    # tenth of a second.
    from django.urls import reverse

    from conversations.exports.workbook import remove_abandoned

    # Imports every view.
    reverse("home")
    # This process may take the place of one that was killed.
    remove_abandoned()
    gc.collect()
    gc.freeze()

    from backoffice import jobs

    jobs.begin()


def worker_exit(server, worker):
    from backoffice import jobs

    jobs.end()


def post_request(worker, request, environ, response):
    # The next client on this thread is somebody else, and may send something that is not a request.
    logs.current_request.set(None)


def child_exit(server, worker):
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)


def on_exit(server):
    place = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""))
    if place.name.startswith("desk-metrics-"):
        shutil.rmtree(place, ignore_errors=True)
