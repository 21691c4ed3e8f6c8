"""
Loaded before the settings, so that tests run on the local PostgreSQL and as in a plain shell,
whatever is in .env or in the environment.
"""

import atexit
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from django.conf import settings

from backoffice import env

# Variables that would affect programs started by tests: the locations of databases and proxies,
# options of gunicorn, Django and Python, the format of output.
FOREIGN = (
    r"PG[A-Z]+|(https?|all|no|ftp)_proxy|GUNICORN_CMD_ARGS|WEB_CONCURRENCY|PROMETHEUS_MULTIPROC_DIR"
    r"|DESK_SHARED_CACHE|DJANGO_\w+|PYTHONWARNINGS|PYTHONDEVMODE|PYTHONOPTIMIZE|PYTHONIOENCODING|PYTHONUTF8"
    r"|COLUMNS|LINES|\w*COLOR\w*|LANG|LANGUAGE|LC_\w+|TZ"
)
BLANK = env.blank()

for name in list(os.environ):
    if re.fullmatch(FOREIGN, name, re.IGNORECASE):
        del os.environ[name]
os.environ.update(BLANK, LC_ALL="C.UTF-8")
os.umask(0o022)
# If SIGCHLD is ignored, as in some shells, the exit status of a child process is unknown.
signal.signal(signal.SIGCHLD, signal.SIG_DFL)

# A folder for things that one process of a test run makes for all of them. Children inherit its
# name.
if "DESK_TEST_RUN" not in os.environ:
    os.environ["DESK_TEST_RUN"] = tempfile.mkdtemp(prefix="desk-test-run-")
    atexit.register(shutil.rmtree, os.environ["DESK_TEST_RUN"], ignore_errors=True)

KEY = "k3y-" + "abcdefghijklmnopqrstuvwxyz" * 2
SHOW = "from django.conf import settings as s; print({})"


def start(expression="s.DEBUG", **environment):
    """(exit code, standard output, standard error) of a process that reads the settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    result = subprocess.run(
        [sys.executable, "-c", SHOW.format(expression)],
        capture_output=True,
        text=True,
        cwd=settings.BASE_DIR,
        env={
            **kept,
            **BLANK,
            "DJANGO_SETTINGS_MODULE": "backoffice.settings",
            "DESK_DATA_DIR": str(settings.LOCAL_DATA_DIR),
            **environment,
        },
    )
    return result.returncode, result.stdout.strip(), result.stderr.strip()
