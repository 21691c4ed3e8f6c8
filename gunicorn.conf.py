"""gunicorn reads this file when started here; its command line and environment take precedence."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

from backoffice import env, logs

env.load(Path(__file__).with_name(".env"))

wsgi_app = "backoffice.wsgi"
bind = f"127.0.0.1:{env.integer('PORT', 8000, 1, 65535)}"
# A thread mostly waits for the database; more processes put more processors to use.
workers = env.integer("WEB_CONCURRENCY", 4, 1, 100)
threads = 8
# For a process that shows no sign of life. Long answers are fine: they run in other threads.
timeout = 30
# How long a process that was told to stop may take to finish its requests.
graceful_timeout = 30
# No client or proxy may move the site below another path: Caddy passes on a client's SCRIPT_NAME.
forwarder_headers = ""
# A control socket would be one more thing to protect.
control_socket_disable = True
loglevel = "warning"
logconfig_dict = logs.configuration()

# Folders that processes share, and how the names of those begin that are made and deleted here.
FOLDERS = {"PROMETHEUS_MULTIPROC_DIR": "desk-metrics-", "DESK_SHARED_CACHE": "desk-cache-"}


def share(name):
    if name not in os.environ:
        os.environ[name] = tempfile.mkdtemp(prefix=FOLDERS[name])


# Where processes add up their metrics; figures of ended processes still count.
if env.text("METRICS_TOKEN"):
    share("PROMETHEUS_MULTIPROC_DIR")


def on_starting(server):
    # Where processes keep what one of them has counted for all.
    share("DESK_SHARED_CACHE")


def post_fork(server, worker):
    # Starts the timeout now. Otherwise gunicorn waits forever for a process that hangs while
    # starting.
    worker.notify()


def post_worker_init(worker):
    # Takes permanent objects out of garbage collection: going through them holds up all threads for
    # a tenth of a second.
    from django.urls import reverse

    from conversations.exports.workbook import remove_abandoned

    # Imports every view.
    reverse("home")
    # This process may replace one that was killed.
    remove_abandoned()
    gc.collect()
    gc.freeze()

    from backoffice import client, jobs

    client.processes = worker.cfg.workers
    jobs.begin()


def worker_exit(server, worker):
    from backoffice import jobs

    jobs.end()


def post_request(worker, request, environ, response):
    # The thread's next client is someone else, and may send something that is not even a request.
    logs.current_request.set(None)


def child_exit(server, worker):
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)


def on_exit(server):
    for name, prefix in FOLDERS.items():
        place = Path(os.environ.get(name, ""))
        if place.name.startswith(prefix):
            shutil.rmtree(place, ignore_errors=True)
