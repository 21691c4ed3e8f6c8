"""Loaded before the settings: tests run on the local PostgreSQL, whatever .env or the shell say."""

import os

from backoffice import env

BLANK = env.blank()
os.environ.update(BLANK)
