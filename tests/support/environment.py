"""Loaded before the settings: tests run on the local PostgreSQL, whatever .env or the shell say."""

import atexit
import os
import shutil
import tempfile

from backoffice import env

BLANK = env.blank()
os.environ.update(BLANK)

# For what the processes of a run make once for all of them. They inherit its name.
if "DESK_TEST_RUN" not in os.environ:
    os.environ["DESK_TEST_RUN"] = tempfile.mkdtemp(prefix="desk-test-run-")
    atexit.register(shutil.rmtree, os.environ["DESK_TEST_RUN"], ignore_errors=True)
