"""The list with each of its filters and fragments, compared with bare SQL for the same rows."""

import html
import re
from dataclasses import dataclass
from datetime import date, timedelta
from urllib.parse import urlencode
from uuid import UUID

import psycopg
from django.urls import reverse

from . import list_sql
from .history import ANCIENT, COMMON, EVERYWHERE, MISSING, PREFIX, RARE, RARE_PAIR, SMALL_AGENT
from .list_sql import counts, gather, page, walk
from .measuring import Case, plain
from .original import SEARCH, original_list
from .site import Site

LIST = reverse("conversations:list")
HTMX = {"HX-Request": "true"}
PAGE = 50
DEEP = 200
# The site's smallest page for a signed-in user: one message of a single line.
EMPTY = "empty response"
# The list with everything except rows.
NO_ROWS = "list without rows"
FIRST = "first page"
OLDER = f"after {DEEP} “older” links"
SEARCHES = {
    "rare": RARE,
    "missing": MISSING,
    "common": COMMON,
    "everywhere": EVERYWHERE,
    "ancient": ANCIENT,
}
TWO_LETTERS = "search: two letters"
NOTHING = plain(["SELECT 1"])
# For these words, looking back from the newest session fills a page fastest.
FREQUENT = {"common", "everywhere"}


@dataclass
class Known:
    """What the cases need to know about a history."""

    agent: str
    # The URL of a message.
    message: str
    start: date
    # The last day of the week that begins with `start`.
    end: date
    external_id: str
    error_text: str
    # The cursor of the deep page: the last row before it.
    updated_at: object
    id: object

    @classmethod
    def about(cls, connection: psycopg.Connection, offset: int):
        def one(statement, **values):
            return connection.execute(statement, values).fetchone()

        (agent,) = one("SELECT id FROM agents WHERE name = %(name)s", name=SMALL_AGENT)
        (middle,) = one("SELECT max(updated_at) - interval '365 days' FROM sessions")
        # At every size, exactly one session has it.
        (external_id,) = one("""
            SELECT external_id FROM sessions WHERE external_id LIKE 'eval:pr-0:case-___'
            ORDER BY updated_at LIMIT 1
        """)
        (error,) = one(f"SELECT output ->> 'result' {list_sql.OFFLINE} LIMIT 1")
        place = one(list_sql.PLACE, offset=offset - 1)
        text = re.search(r"SN-\d+", error)[0]
        start = middle.date()
        end = start + timedelta(6)
        return cls(str(agent), message_path(connection), start, end, external_id, text, *place)


def message_path(connection: psycopg.Connection) -> str:
    message = connection.execute("SELECT session_id, id FROM chat_messages LIMIT 1").fetchone()
    return reverse("conversations:message", args=message)


def depth(size: int) -> int:
    """How many "older" links to follow, as far as the history is long enough."""
    return DEEP if size > DEEP * PAGE else 150 * size // (DEEP * PAGE)


def links(body: str, pattern: str) -> str:
    """The URL of the first link whose tag matches."""
    for tag in re.findall(r"<[a-z]+ [^>]*>", body):
        address = re.search(r'(?:href|hx-get|data-watch)="([^"]*)"', tag)
        if address and re.search(pattern, tag):
            return html.unescape(address[1])
    return ""


def follow(site: Site, times: int) -> str:
    """The URL after following the "older" link `times` times."""
    path = LIST
    for _ in range(times):
        body = site.request(path).read().decode()
        path = LIST + links(body, 'rel="next"').removeprefix(LIST)
    return path


def list_cases(site: Site, size: int) -> list[Case]:
    deep = depth(size)
    known = Known.about(site.database, deep * PAGE)
    found = []

    def add(name, bare, original=None, *, path=LIST, fragment=False, **filters):
        if filters:
            path += ("&" if "?" in path else "?") + urlencode(filters)
        headers = HTMX if fragment else {}
        found.append(Case(site, name, f"{size:,}", path, bare, original, headers))

    add(EMPTY, NOTHING, path=known.message)
    add(NO_ROWS, NOTHING, agent=UUID(int=0))

    add(FIRST, page("sessions s"), original_list())
    older = page(f"sessions s WHERE {list_sql.OLDER}", at=known.updated_at, id=known.id)
    add(OLDER, older, original_list(offset=deep * PAGE), path=follow(site, deep))

    def add_narrowed(name, condition, values, **filters):
        bare = page(f"sessions s WHERE {condition}", **values)
        add(name, bare, original_list(condition, **values), **filters)

    agent = {"agent": known.agent}
    add_narrowed("agent", "agent_id = %(agent)s", agent, agent=known.agent)
    after = {"end": known.end + timedelta(1)}
    add_narrowed(
        "dates: a week",
        "s.created_at >= %(start)s AND s.created_at < %(end)s",
        {"start": known.start, **after},
        start_date=known.start,
        end_date=known.end,
    )
    first_year = original_list("s.created_at < %(end)s", **after)
    add("dates: the first year", page(list_sql.UNTIL, **after), first_year, end_date=known.end)
    for name, text in [("beginning", PREFIX), ("whole", known.external_id)]:
        pattern = {"pattern": f"{text}%"}
        original = original_list("external_id LIKE %(pattern)s", **pattern)
        bare = page(list_sql.EXTERNAL_ID, **pattern)
        add(f"external id: {name}", bare, original, external_id=text)

    for kind, sessions in list_sql.problems().items():
        add(f"problem: {kind}", page(sessions), problem=kind)

    for name, word in SEARCHES.items():
        pattern = {"pattern": f"%{word}%"}
        sessions = (walk if name in FREQUENT else gather)(list_sql.MESSAGES)
        add(f"search: {name}", page(sessions, **pattern), original_list(SEARCH, **pattern),
            search=word)  # fmt: skip
    two = page(gather(list_sql.MESSAGES), pattern=f"%{RARE_PAIR}%")
    add(TWO_LETTERS, two, search=RARE_PAIR)
    texts = gather(list_sql.MESSAGES, *list_sql.ERROR_TEXTS)
    for name, word, sessions in [
        ("rare", RARE, texts),
        ("a tool's name", "restart_dev", walk(list_sql.TOOLS)),
        ("an error's text", known.error_text, texts),
    ]:
        bare = page(sessions, pattern=f"%{word}%")
        add(f"search in all: {name}", bare, search=word, scope="all")

    def add_counts(name, bare, **filters):
        add(name, bare, path=f"{LIST}counts/", fragment=True, **filters)

    add_counts("counts", counts("true"))
    add_counts("counts: agent", counts("agent_id = %(agent)s", **agent), **agent)
    common = counts(list_sql.WITH_WORD, pattern=f"%{COMMON}%")
    add_counts("counts: search: common", common, search=COMMON)

    at, newest = site.database.execute(list_sql.PLACE, {"offset": 0}).fetchone()
    arrived = plain([list_sql.NEWER], at=at, id=newest)
    since = links(site.request(LIST).read().decode(), r"[?;]since=").rpartition("since=")[2]
    for name, filters in [("", {}), (": search: common", {"search": COMMON})]:
        add(f"new arrivals{name}", arrived, path=f"{LIST}new/", fragment=True,
            since=since, **filters)  # fmt: skip

    add("errors", plain(list_sql.errors()), path=f"{LIST}errors/")
    return found
