"""Home and the other pages of figures at each size, and the rollup that keeps these."""

import time
from collections.abc import Callable

from django.core.management import call_command
from django.db import connections
from django.urls import reverse

from conversations.changes.telling import changed
from conversations.selection.forms import query_string

from .databases import reading
from .history import SMALL_AGENT
from .list_cases import EMPTY, HTMX, NOTHING, message_path
from .measuring import Case
from .site import Site
from .tables import failures, measured, table

HOME = reverse("home")
PERIODS = ("today", "7d", "30d")
CHANGED = 300
AN_AGENT = "SELECT id FROM agents ORDER BY id LIMIT 1"
A_NODE = "SELECT name FROM tasks WHERE node_type <> 'tool_call' LIMIT 1"
A_CONVERSATION = "SELECT session_id FROM runs ORDER BY session_id LIMIT 1"
NEWEST = "SELECT id FROM sessions ORDER BY updated_at DESC, id DESC LIMIT %s"


def home_cases(site: Site, size: int) -> list[Case]:
    def case(page, path, headers=HTMX):
        return Case(site, page, f"{size:,}", path, NOTHING, headers=headers)

    charts = reverse("home_charts")
    [[agent]] = site.database.execute(AN_AGENT).fetchall()
    [[node]] = site.database.execute(A_NODE).fetchall()
    node_query = query_string({"node": node, "step_from": "last-30-days"})
    return [
        case(EMPTY, message_path(site.database), {}),
        case("home", HOME, {}),
        case("figures", reverse("home_figures")),
        *(case(f"charts: {period}", f"{charts}?period={period}") for period in PERIODS),
        case("rising errors", reverse("home_rising")),
        case("now", reverse("home_now")),
        case("agents", reverse("agents"), {}),
        case("an agent: figures", reverse("agent_figures", args=[agent])),
        case("an agent: charts", reverse("agent_charts", args=[agent])),
        case("an agent: workflow", reverse("agent_workflow", args=[agent])),
        case("slow and failing", reverse("slow"), {}),
        case("list of a node", f"{reverse('conversations:list')}?{node_query}", {}),
        case("monitor", reverse("monitor"), {}),
        case("model calls", reverse("model_calls"), {}),
        case("model calls: totals", reverse("model_calls_totals")),
    ]


def live_cases(site: Site, size: int) -> list[Case]:
    """Pages and files that read the agent database and are not in the list's cases."""
    [[session]] = site.database.execute(A_CONVERSATION).fetchall()
    [[agent]] = site.database.execute("SELECT id FROM agents WHERE name = %s", [SMALL_AGENT])
    export = reverse("conversations:export", args=["conversations", "csv"])
    live = {"rising errors", "now", "monitor", "model calls", "model calls: totals"}
    paths = {
        "conversation": reverse("conversations:detail", args=[session]),
        "export: agent": f"{export}?agent={agent}",
    }
    found = [Case(site, page, f"{size:,}", path, NOTHING) for page, path in paths.items()]
    return found + [case for case in home_cases(site, size) if case.page in live]


def rolled_up(name: str, size: int, say: Callable) -> list[str]:
    """A row of the rollup's table: everything, and then a pass that counts some as new."""
    with reading(name):
        say(f"Rolling up {size:,} sessions …")
        first = seconds_of_a_rollup()
        with connections["agents"].cursor() as cursor:
            cursor.execute(NEWEST, [CHANGED])
            ids = [session_id for (session_id,) in cursor.fetchall()]
        # As if they had been erased: the figures have nothing of them any more.
        changed.send(sender=None, session_ids=ids, erased=True)
        later = seconds_of_a_rollup()
    seconds = (f"{each:,.1f}" for of_pass in (first, later) for each in of_pass)
    return [f"{size:,}", *seconds]


def seconds_of_a_rollup() -> tuple[float, float]:
    """(seconds, and of these how long this process worked)"""
    began, worked = time.perf_counter(), time.process_time()
    call_command("rollup", verbosity=0)
    return time.perf_counter() - began, time.process_time() - worked


def rollup_table(rows: list[list[str]]) -> str:
    later = f"with {CHANGED} new ones"
    head = ["conversations", "first rollup, s", "of these Python", f"a pass {later}, s",
            "of these Python"]  # fmt: skip
    return table(head, rows, 1)


def home_table(cases: list[Case]) -> str:
    empty = {case.kind: case.page_ms for case in measured(cases) if case.page == EMPTY}
    head = ["page", "conversations", "page, ms", "to the empty response", "bytes", "queries"]
    rows = [
        [
            case.page,
            case.kind,
            f"{case.page_ms:,.1f}",
            f"{case.page_ms / empty[case.kind]:.1f}" if case.kind in empty else "",
            f"{case.size:,}",
            str(case.queries),
        ]
        for case in measured(cases)
    ]
    return table(head, rows, 2) + failures(cases)
