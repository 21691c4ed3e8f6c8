"""
What this site writes to standard error: one JSON object per line in a deployment, readable lines
on a developer's computer.

Exception messages, and the arguments of other libraries' log messages, quote conversations and what
users typed: a deployment's log leaves out both. Every line of a request carries its id.
"""

import json
import logging
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime

from . import env

# gunicorn.conf.py clears it once the request is done: a stream is read, and may fail, after its
# view has returned.
current_request = ContextVar("current_request", default=None)
OURS = {"accounts", "audit", "backoffice", "conversations"}
MOST_FRAMES = 40
MOST_CAUSES = 5


def configuration() -> dict:
    """For Django's LOGGING and for gunicorn, whose main process does not load Django."""
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
            # Otherwise it has its own handler.
            "gunicorn.error": {"propagate": True},
            # Refusals are in the access log already.
            "django.request": {"level": "ERROR"},
            # So is a filter of the admin panel that does not exist.
            "django.security.DisallowedModelAdminLookup": {"level": "CRITICAL"},
            "backoffice.access": {"level": "INFO" if deployed else "WARNING"},
            # Logs each seal, so that whoever keeps the log can tell if one was removed.
            "audit.sealing": {"level": "INFO" if deployed else "WARNING"},
        },
    }


class OneLine(logging.Filter):
    """
    Shortens database outages and lost clients to one line: they come in large numbers, and their
    tracebacks do not help.
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
        # ASCII: no line breaks and no terminal escapes.
        return json.dumps(line, default=str)


def message(record: logging.LogRecord) -> str:
    if record.name.partition(".")[0] in OURS:
        return record.getMessage()
    template = str(record.msg) if isinstance(record.msg, str) else type(record.msg).__name__
    if not record.args:
        # Values that are already in the text come last: "Invalid HTTP_HOST header: 'x'".
        return template.partition(": ")[0]
    arguments = record.args if isinstance(record.args, tuple) else ()
    kept = (each if isinstance(each, int | float) else "…" for each in arguments)
    try:
        return template % tuple(kept)
    except (TypeError, ValueError):
        return template


def about(request) -> dict:
    """What each line says about its request; view and user id if they are known yet."""
    match = request.resolver_match
    # Not `request.user`: loading it may need a database that is gone.
    user = getattr(request, "_cached_user", None)
    return {
        "request_id": request.id,
        "user_id": user.pk if user else None,
        "view": match.view_name if match else None,
        "method": request.method,
    }


def causes(error: BaseException | None):
    """The exception and its causes: types, SQLSTATEs and code locations, but no messages."""
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
