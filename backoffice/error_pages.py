"""Shows every error as a calm page, or as a fragment if htmx sent the request."""

import sys
from contextlib import contextmanager

from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError
from django.http import RawPostDataException, UnreadablePostError
from django.shortcuts import render

from .databases.errors import (
    DISK_FULL,
    OTHER_TABLES,
    QUERY_CANCELED,
    READ_ONLY,
    alias_of,
    is_outage,
    is_recovery_conflict,
    is_timeout,
    sqlstate,
)
from .fragments import LIST_TARGET, RESULTS_TARGET, wants_fragment
from .metrics import database_failed

# Why a change was not made: (status, title, text).
NO_WRITING = (
    403,
    "This site is read-only",
    "Nothing was changed. This site is set up only to read the agent database.",
)
BUSY = (
    503,
    "Another program is changing this",
    "Nothing was changed. Try again in a moment.",
)
# What to say about a change that PostgreSQL refused, by SQLSTATE.
REFUSALS = {
    READ_ONLY: (
        503,
        "The agent database is read-only at the moment",
        "Nothing was changed. The database may be a replica or under maintenance. If this keeps "
        "happening, tell whoever runs this site.",
    ),
    "42501": (
        403,
        "The agent database does not allow this change",
        "Nothing was changed. This site's database role lacks the permission; whoever runs the "
        "database can grant it.",
    ),
    QUERY_CANCELED: BUSY,
    "55P03": BUSY,
    "40P01": BUSY,
}


TOO_LONG = (
    413,
    "This text is too long",
    "Nothing was changed. Go back and shorten the text.",
)


class ChangeRefused(Exception):
    """A change was not made; the arguments are status, title and text for error_response()."""


@contextmanager
def refusals():
    """Wrap a change in the agent database: if PostgreSQL refuses it, ChangeRefused is raised."""
    try:
        yield
    except DatabaseError as error:
        if known := REFUSALS.get(sqlstate(error)):
            if is_timeout(error):
                database_failed(error)
            raise ChangeRefused(*known) from error
        raise


def sent_form(request) -> list[tuple[str, str]] | None:
    """The form's fields, so that it can be sent again; None if it holds secrets or files."""
    if request.method != "POST":
        return None
    try:
        fields = request.POST
    except (RawPostDataException, UnreadablePostError):
        return None
    secret = hasattr(request, "sensitive_post_parameters") or any("pass" in name for name in fields)
    if secret or request.FILES:
        return None
    return [
        (name, value)
        for name, values in fields.lists()
        for value in values
        if name != "csrfmiddlewaretoken"
    ]


def error_response(
    request, status: int, title: str, text: str, *, instead: tuple[str, str] | None = None
):
    """
    A page or fragment that says what went wrong. A 503 page lets the user send the form again.
    `instead`: label and address of something else that the user can do.
    """
    template = "_error.html" if wants_fragment(request) else "error.html"
    context = {"status": status, "title": title, "text": text, "retry": request.get_full_path()}
    context["instead"] = instead
    if status == 503:
        context["form"] = sent_form(request)
    response = render(request, template, context, status=status)
    # The filters stay on the page; the notice replaces the results.
    if template == "_error.html" and request.htmx.target == LIST_TARGET:
        response["HX-Retarget"] = RESULTS_TARGET
        response["HX-Reswap"] = "innerHTML"
    return response


def bad_request(request, exception=None):
    if isinstance(exception, RequestDataTooBig):
        return error_response(request, *TOO_LONG)
    return error_response(
        request,
        400,
        "This address is not valid",
        "Part of it is missing or was changed. Start again from the list.",
    )


def permission_denied(request, exception=None):
    return error_response(
        request,
        403,
        "You don't have access",
        "Your role does not include this page. Someone with the Admin role can change that.",
    )


def method_not_allowed(request):
    return error_response(
        request,
        405,
        "This address does not accept that",
        "Nothing was changed. Start again from the list.",
    )


def csrf_failure(request, reason=""):
    return error_response(
        request,
        403,
        "This form is out of date",
        "Nothing was changed. Go back, reload the page and send the form again. Your browser must "
        "accept cookies from this site.",
    )


def not_found(request, exception=None):
    return error_response(
        request,
        404,
        "Nothing at this address",
        "The conversation may have been erased, or the link is incomplete.",
    )


def server_error(request):
    """Tells a failing database (gone, too slow, read-only or changed) from our own errors."""
    failure = sys.exc_info()[1]
    if failure is None or not is_outage(failure):
        return error_response(
            request,
            500,
            "Something broke on our side",
            "The error has been logged. If it happens again, tell whoever runs this site.",
        )
    if is_timeout(failure) and alias_of(failure) in ("default", "agents_write"):
        title = "The database is busy"
        text = "Try again in a moment. If this keeps happening, tell whoever runs this site."
    elif is_timeout(failure):
        title = "That took too long"
        text = (
            "The search was stopped so that it does not slow others down. Narrow it by agent or "
            "date, or search for a longer word."
        )
    elif is_recovery_conflict(failure):
        title = "The database was catching up"
        text = (
            "This site reads from a copy of the database, which was just being brought up to "
            "date. Nothing is lost: try again."
        )
    elif sqlstate(failure) in (READ_ONLY, DISK_FULL):
        title = "Changes cannot be saved at the moment"
        text = (
            "The database is read-only: its disk is full, or it is under maintenance. Nothing is "
            "done that the audit log cannot record. If this keeps happening, tell whoever runs "
            "this site."
        )
    elif sqlstate(failure) in OTHER_TABLES:
        title = "The database is being changed"
        text = (
            "Its tables have just changed. Try again. If this keeps happening, tell whoever runs "
            "this site."
        )
    else:
        title = "The database is not responding"
        text = (
            "Nothing is lost. Try again in a moment. If this keeps happening, tell whoever runs "
            "this site."
        )
    return error_response(request, 503, title, text)
