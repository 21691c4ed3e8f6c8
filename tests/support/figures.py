"""Conversations at the ends of periods, and their figures on home."""

import re
from datetime import datetime, timedelta
from html import unescape

from django.core.management import call_command
from django.utils import timezone

from overview import periods

from .factories import (
    NULL,
    Json,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from .pages import get

MOMENT = timedelta(microseconds=1)
FIGURES, CHARTS, NOW = "/home/figures/", "/home/charts/", "/home/now/"


def roll_up():
    call_command("rollup", verbosity=0)


def last_quarter() -> datetime:
    return periods.quarter_start(timezone.now())


def edges(until: datetime) -> list[datetime]:
    """Moments at which something of home begins or ends, and just before."""
    spans = [*periods.slices("today", until)[-6:], *periods.slices("30d", until)]
    for days in (1, 7):
        found = periods.compared(until, days)
        spans += [found.before, found.shown]
    ends = {end for span in spans for end in (span.since, span.until)}
    return sorted(ends | {end - MOMENT for end in ends})


def make_edges(until: datetime, every: int = 1):
    """Conversations of three agents and a few people there, with problems of all kinds."""
    agents = [make_agent(name) for name in ("Shop", "Bank", "Shop")]
    for place, moment in enumerate(edges(until)[::every]):
        at = {"created_at": moment, "updated_at": moment}
        person = None if place % 4 == 0 else f"person-{place % 7}"
        session = make_session(agents[place % 3], external_id=person, **at)
        make_message(session, **at)
        no_answer = [{}, {"output_data": NULL}, {"output_data": NULL, "duration_seconds": None}]
        run = make_run(session, **at, **no_answer[place % 3])
        make_model_call(
            session,
            run,
            model=("openai/gpt-4o", "nobody-knows")[place % 2],
            prompt_tokens=1_000,
            completion_tokens=100,
            total_tokens=1_100,
            response_code=500 if place % 5 == 0 else 200,
            **at,
        )
        if place % 4 == 0:
            failed = Json({"result": "Error: gone"})
            make_task(run, session, "look-up", "tool_call", output=failed, **at)
        if place % 6 == 0:
            make_task(run, session, "step", errors=Json(["boom"]), **at)
        # What happens later without a message or a run is no activity.
        if place % 10 == 0:
            later = {"created_at": moment + timedelta(hours=5)}
            if later["created_at"] < until:
                make_task(run, session, "late", "tool_call", output=failed, **later)


def listed(client, link: str) -> int:
    """How many conversations the list has that a link leads to, on all of its pages."""
    number, after = 0, ""
    while True:
        page = get(client, f"{link}{after}")
        assert page.context["filter"].is_valid(), (link, page.context["filter"].errors)
        number += len(page.context["rows"])
        if not page.context["next_cursor"]:
            return number
        after = f"&after={page.context['next_cursor']}"


def list_links(page) -> set[str]:
    found = re.findall(r'href="(/conversations/\?[^"]*)"', page.content.decode())
    return {unescape(link) for link in found}
