"""
What this site writes to standard error: a JSON object a line in a deployment, readable lines on
one computer.

Messages of exceptions, and texts within messages of libraries, quote what strangers said and what
was typed: a deployment's log does without both. Everybody's lines of one request tell its id.
"""

import json
import logging
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime

from . import env

# Until gunicorn is done with it, see gunicorn.conf.py: a stream is read, and may fail, after its
# view has ended.
current_request = ContextVar("current_request", default=None)
OURS = {"accounts", "audit", "backoffice", "conversations"}
MOST_FRAMES = 40
MOST_CAUSES = 5


def configuration() -> dict:
    """For Django's LOGGING and for gunicorn, whose first process knows no Django."""
    deployed = bool(env.text("SECRET_KEY"))
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": "backoffice.logs.JsonFormatter"},
            "line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        },
        "filters": {"one_line": {"()": "backoffice.logs.OneLine"}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "json" if deployed else "line",
                "filters": [] if deployed else ["one_line"],
            }
        },
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            # It has a handler of its own otherwise.
            "gunicorn.error": {"propagate": True},
            # The line of each request tells of refusals already.
            "django.request": {"level": "ERROR"},
            "backoffice.access": {"level": "INFO" if deployed else "WARNING"},
        },
    }


class OneLine(logging.Filter):
    """
    What is not our fault, and a reader who is gone, come many at a time: what happened is enough,
    the way there is of no use.
    """

    def filter(self, record):
        from .databases.errors import is_outage

        error = record.exc_info and record.exc_info[1]
        if error and (is_outage(error) or isinstance(error, TimeoutError | ConnectionError)):
            words = " ".join(str(error).split())
            record.msg, record.args = f"{record.getMessage()}: {type(error).__name__}: {words}", ()
            record.exc_info = record.exc_text = None
        return True


class JsonFormatter(logging.Formatter):
    def format(self, record):
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message(record),
        }
        if request := current_request.get():
            line |= about(request)
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1]:
            line["exception"] = list(causes(record.exc_info[1]))
        # ASCII: nothing in it ends a line or speaks to a terminal.
        return json.dumps(line, default=str)


def message(record: logging.LogRecord) -> str:
    if record.name.partition(".")[0] in OURS:
        return record.getMessage()
    template = str(record.msg) if isinstance(record.msg, str) else type(record.msg).__name__
    if not record.args:
        # What was put in already stands at the end, as in "Invalid HTTP_HOST header: 'x'".
        return template.partition(": ")[0]
    arguments = record.args if isinstance(record.args, tuple) else ()
    kept = (each if isinstance(each, int | float) else "…" for each in arguments)
    try:
        return template % tuple(kept)
    except (TypeError, ValueError):
        return template


def about(request) -> dict:
    """Which request it is, for every line: its view's name and its user's id where known by now."""
    match = request.resolver_match
    # Not `request.user`: who has not been asked for yet may be in a database that is gone.
    user = getattr(request, "_cached_user", None)
    return {
        "request_id": request.id,
        "user_id": user.pk if user else None,
        "view": match.view_name if match else None,
        "method": request.method,
    }


def causes(error: BaseException | None):
    """The exception and what it came from: types, SQLSTATEs and places, without a word of text."""
    for _ in range(MOST_CAUSES):
        if error is None:
            return
        frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
        yield {
            "type": f"{type(error).__module__}.{type(error).__qualname__}",
            "sqlstate": getattr(error, "sqlstate", None),
            "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        }
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
