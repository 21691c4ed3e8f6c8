"""
Whoever is limited to certain agents finds nothing of the others' conversations, anywhere.

Every address of the site is asked for what is of somebody else's agent, alone and mixed with one's
own. It must answer as it does for what never existed, word for word; a new address fails here
until it is asked too.
"""

import itertools
import re
import uuid

import pytest
from django.urls import reverse
from django.utils.http import urlencode

from audit.models import Act, Entry
from conversations.exports.files import FILES, FORMS
from conversations.exports.tables import TABLE_FORMS
from conversations.models import PAYLOADS, Agent, ChatMessage, ModelCall, Run, Session, Task
from conversations.problems import outcomes
from conversations.selection.pagination import EPOCH, Cursor
from overview.slow import tables

from ..support.addresses import ACCOUNT, PANEL, PIECE, SITE, make_examples, paths
from ..support.admin_panel import form_url, list_url, open_form
from ..support.figures import roll_up
from ..support.histories import build_indexes
from ..support.limited import (
    OURS,
    SECRET,
    THEIRS,
    WORD,
    Side,
    answer,
    assert_as_if_it_did_not_exist,
    assert_tells_nothing,
    both_ways,
    let_in_limited,
)
from ..support.listing import be_patient
from ..support.tables import sql, untouched

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]

ROLES = ("Viewer", "Support", "Admin")
METHODS = ("get", "post", "head", "put", "patch", "delete", "options")
MODELS = {
    "agent": Agent,
    "session": Session,
    "run": Run,
    "task": Task,
    "chatmessage": ChatMessage,
    "modelcall": ModelCall,
}
# What an address names, by the name of its part.
NAMED = {
    "agent_id": Agent,
    "session_id": Session,
    "run_id": Run,
    "message_id": ChatMessage,
    "task_id": Task,
}
KINDS = ("any", "running", "failed", "model_error", "tool_error", "task_error")
# No content.
OPEN = {"favicon", "csp_report", "help:index", "help:document", "help:picture"}


@pytest.fixture
def sides(monkeypatch, settings):
    be_patient(monkeypatch)
    settings.STATEMENT_TIMEOUT_SECONDS = 60
    found = Side(OURS), Side(THEIRS)
    roll_up()
    return found


@pytest.fixture(params=ROLES)
def limited(request, client, sides):
    """Signed in with each role, limited to the first side's agent."""
    return let_in_limited(client, request.param, [sides[0].agent])


@pytest.fixture
def limited_admin(client, sides):
    return let_in_limited(client, "Admin", [sides[0].agent])


# Addresses


# All but the panel's, which has tests below, and one's own account's.
ASKED = {name: address for name, address in SITE.items() if name not in ACCOUNT}


def arguments(parameters, one: Side, other: Side):
    """(what an address may be made of, each id of either side, whether all of it is one's)"""
    ids = [name for name in parameters if name.endswith("_id")]
    kinds = PAYLOADS if "kind" in parameters else {None: (None, None, [None])}
    for kind, (model, _, fields) in kinds.items():
        of_kind = {**NAMED, "row_id": model}
        for field in fields:
            for chosen in itertools.product((one, other), repeat=len(ids)):
                named = {
                    name: side.named(of_kind[name]) for name, side in zip(ids, chosen, strict=True)
                }
                if kind:
                    named |= {"kind": kind, "field": field}
                yield named, other not in chosen


def with_ids(one: Side, other: Side):
    """(name, address, whether all of it is one's) of each address that names a row."""
    for name, address in ASKED.items():
        parameters = PIECE.findall(address)
        if not any(parameter.endswith("_id") for parameter in parameters):
            continue
        more = [{}]
        if "form" in parameters:
            more = [{"form": form} for form in ("txt", "md")]
        for (named, is_own), rest in itertools.product(arguments(parameters, one, other), more):
            yield name, reverse(name, kwargs=named | rest), is_own


def searches(theirs: Side) -> list[dict]:
    """What the list may be asked for that is of theirs, or might show it."""
    found = [{}, {"search": WORD}, {"search": WORD, "scope": "all"}, {"search": "Error"}]
    found += [{"search": "Error", "scope": "all"}, {"search": "shared"}, {"external_id": "shared"}]
    found += [{"external_id": WORD}, {"evals": "hidden"}, {"search": SECRET}]
    found += [{"search": SECRET, "scope": "all"}, {"search": THEIRS}, {"external_id": THEIRS}]
    found += [{"agent": theirs.agent}, {"error": SECRET}, {"error": theirs.rows[Task][0]}]
    for kind in KINDS:
        found += [{"problem": kind}, {"problem": kind, "agent": theirs.agent}]
        found += [{"problem": kind, "search": WORD}]
    found += [{"outcome": outcome} for outcome, _ in outcomes.choices()]
    failed = Task.objects.filter(pk__in=theirs.rows[Task], node_type="tool_call")
    found += [{"problem": "tool_error", "error": row.pk} for row in failed]
    for model in (Session, Run, Task, ChatMessage):
        found += [{"search": theirs.named(model)}, {"search": theirs.named(model), "go": "1"}]
        found += [{"search": str(theirs.named(model)).upper()}]
    return found


def queries(ours: Side, theirs: Side) -> dict[str, list[dict]]:
    """What each address that names no row is asked for."""
    since = str(Cursor(EPOCH, uuid.UUID(int=0)))
    newest = Session.objects.get(pk=theirs.session.id)
    last = str(Cursor(newest.updated_at, newest.pk))
    asked = searches(theirs)
    calls = [{}, {"agent": theirs.agent}, {"model": THEIRS}, {"type": THEIRS}]
    calls += [{"status": status} for status in ("ok", "failed", "none", "500")]
    calls += [{"slow": 0}, {"conversation": theirs.session.id}, {"run": theirs.named(Run)}]
    return {
        **{name: [{}] for name in OPEN},
        "conversations:list": [*asked, {"after": last}, {"after": last, "search": WORD}],
        "conversations:counts": asked,
        "conversations:new": [{**query, "since": since} for query in asked] + [{"since": last}],
        "conversations:rows": asked[::4],
        "conversations:errors": [
            {},
            {"agent": theirs.agent},
            {"period": "today", "sort": "last"},
            {"period": "30d", "sort": "rising"},
            *({"kind": kind} for kind in KINDS[2:]),
            *({"kind": kind, "agent": theirs.agent} for kind in KINDS[2:]),
        ],
        "home": [{}],
        "home_figures": [{}],
        "home_charts": [{"period": period} for period in ("today", "7d", "30d")],
        "home_rising": [{}],
        "home_now": [{}],
        "agents": [{}, {"period": "today", "sort": "cost"}, {"sort": "last"}, {"sort": "-name"}],
        "slow": [{}, {"period": "today", "tools": "p95"}, {"agent": theirs.agent}],
        "slow_file": [{}],
        "summaries": [{}, {"by": "week", "agent": theirs.agent}],
        "monitor": [{}],
        "monitor_state": [{}],
        "conversations:export": [query for query in asked[::4] if "go" not in query],
        "model_calls": calls,
        "model_calls_totals": calls,
        "model_calls_export": calls,
        "conversations:erase_all": [{"external_id": "shared"}, {"external_id": THEIRS}],
    }


def without_ids(ours: Side, theirs: Side):
    """Addresses that name no row; a KeyError for one that queries() does not know."""
    asked = queries(ours, theirs)
    for name, address in ASKED.items():
        parameters = PIECE.findall(address)
        if any(parameter.endswith("_id") for parameter in parameters):
            continue
        filled = {
            "conversations:export": itertools.product(FILES, FORMS),
            "summaries": [(form,) for form in TABLE_FORMS],
            "slow_file": itertools.product(tables.BY_NAME, TABLE_FORMS),
            "model_calls_export": [(form,) for form in FORMS],
            "help:document": [("operating",)],
            "help:picture": [("list.png",)],
        }
        for arguments in filled[name] if parameters else [()]:
            for query in asked[name]:
                url = reverse(name, args=arguments)
                yield name, f"{url}?{urlencode(query)}" if query else url


def posted(url: str) -> dict:
    """What would confirm anything."""
    first = re.search(r"[0-9a-f]{8}-", url)
    word = "redact" if "redact" in url else f"erase {first[0][:8] if first else ''}"
    return {"confirmation": word, "confirm": "1", "words": WORD, "reason": "to see it"}


# The tests


def test_every_address_is_asked(sides):
    ours, theirs = sides
    asked = {name for name, *_ in (*with_ids(ours, theirs), *without_ids(ours, theirs))}
    assert asked == ASKED.keys()


@pytest.mark.slow
def test_what_names_their_row_answers_as_if_it_did_not_exist(limited, sides):
    ours, theirs = sides
    asked = set()
    with untouched():
        for name, url, is_own in with_ids(ours, theirs):
            if is_own:
                continue
            # What answers no other method does so before it looks at the address.
            methods = METHODS[:2] if name in asked else METHODS
            asked.add(name)
            for method in methods:
                data = posted(url) if method == "post" else None
                status, _, text = assert_as_if_it_did_not_exist(limited, theirs, method, url, data)
                assert SECRET not in text, url
                harmless = method == "options" or name == "conversations:reveal"
                assert status in (403, 404, 405) or harmless, (method, url)
    seen = Entry.objects.filter(session_id__in=theirs.rows[Session])
    assert not seen.exclude(act=Act.VIEWED).exists()


def test_ones_own_is_there_and_shows_nothing_of_theirs(limited, sides):
    ours, theirs = sides
    for name, url, is_own in with_ids(ours, theirs):
        if is_own:
            may = limited.role == "Admin" or not name.endswith(("redact", "erase", "reveal"))
            if may and name != "conversations:reveal":
                assert limited.get(url).status_code == 200, url
            assert_tells_nothing(limited, theirs, url)


@pytest.mark.slow
def test_ones_own_page_shows_nothing_of_theirs_whatever_is_asked(limited_admin, sides):
    ours, theirs = sides
    detail = f"/conversations/{ours.session.id}/"
    for query in searches(theirs)[::3]:
        assert_tells_nothing(limited_admin, theirs, f"{detail}?{urlencode(query)}")
    for query in ({"m": theirs.named(ChatMessage)}, {"run": theirs.named(Run)}):
        url = f"{detail}?{urlencode(query)}"
        assert_as_if_it_did_not_exist(limited_admin, theirs, "get", url)


@pytest.mark.slow
@pytest.mark.parametrize("indexed", [False, True])
def test_what_names_no_row_tells_nothing_of_theirs(limited_admin, sides, indexed):
    ours, theirs = sides
    if indexed:
        build_indexes()
    asked = without_ids(ours, theirs)
    # Without them the same rows are found another way: a third of what is asked will tell.
    for _, url in asked if indexed else itertools.islice(asked, 0, None, 3):
        answers = assert_tells_nothing(limited_admin, theirs, url)
        if any(pk in url for pk in theirs.ids) or SECRET in url:
            assert_as_if_it_did_not_exist(limited_admin, theirs, "get", url, known=answers)


@pytest.mark.slow
def test_every_page_is_the_same_without_theirs(limited_admin, sides):
    """Numbers too: counts, totals, groups of errors, how often, when first."""
    ours, theirs = sides
    urls = [
        url
        for name, url in without_ids(ours, theirs)
        if name.startswith(("conversations", "home", "agent", "slow"))
        if name.startswith(("conversations", "home", "model_calls", "monitor"))
    ]
    # Whether words are found there is asked above; numbers are in every one of these.
    urls = [url for url in urls if not any(word in url for word in (SECRET, "scope", "search"))]
    with_theirs = [list(both_ways(limited_admin, url)) for url in urls]
    sql("DELETE FROM agents WHERE id = %s", [theirs.agent])
    sql("DELETE FROM model_call_stats WHERE id = ANY(%s)", [theirs.rows[ModelCall]])
    roll_up()
    assert not Session.objects.filter(pk__in=theirs.rows[Session]).exists()
    for url, before in zip(urls, with_theirs, strict=True):
        assert list(both_ways(limited_admin, url)) == before, url


@pytest.mark.slow
def test_without_a_limit_all_of_it_is_found(admin_client, sides):
    """Or the tests above would find nothing wherever they look."""
    _, theirs = sides
    for name, url, _ in with_ids(theirs, theirs):
        if name != "conversations:reveal":
            assert admin_client.get(url).status_code == 200, url
    for url in ("/conversations/", "/conversations/errors/", f"{list_url('session')}?q=shared"):
        text = admin_client.get(url).content.decode()
        assert SECRET in text, url
        assert any(pk in text for pk in theirs.ids)


# The admin panel


def panel_paths(side: Side):
    """(name, address) of all that the panel has, with the side's rows."""
    return paths(
        PANEL, make_examples(**{name: side.named(model) for name, model in MODELS.items()})
    ).items()


def test_the_panel_answers_as_if_their_rows_did_not_exist(limited_admin, sides):
    _, theirs = sides
    with untouched():
        for name, url in panel_paths(theirs):
            if name == "logout":
                continue
            of_row = any(pk in url for pk in theirs.ids)
            for method in ("get", "post"):
                if not of_row:
                    text = answer(limited_admin, method, url)[2]
                    assert SECRET not in text, url
                    assert not [pk for pk in theirs.ids if pk in text], url
                    continue
                data = {"name": "x", "role": "x", "content": "x", "_save": "Save"}
                status, _, text = assert_as_if_it_did_not_exist(
                    limited_admin, theirs, method, url, data
                )
                assert status in (403, 404), (method, url)
                assert SECRET not in text


@pytest.mark.slow
def test_the_panel_lists_and_finds_nothing_of_theirs(limited_admin, sides):
    _, theirs = sides
    terms = [SECRET, THEIRS, "shared", WORD, "python://", str(theirs.agent)]
    terms += [str(theirs.named(model)) for model in MODELS.values()]
    popup = {"_popup": "1", "_to_field": "id"}
    for model in MODELS:
        for query in ({}, popup, {"q": SECRET, **popup}, *({"q": term} for term in terms)):
            url = f"{list_url(model)}?{urlencode(query)}"
            answers = assert_tells_nothing(limited_admin, theirs, url)
            if any(pk in url for pk in theirs.ids) or SECRET in url:
                assert_as_if_it_did_not_exist(limited_admin, theirs, "get", url, known=answers)


def test_ones_own_rows_in_the_panel_show_nothing_of_theirs(limited_admin, sides):
    ours, theirs = sides
    for name, model in MODELS.items():
        url = form_url(name, ours.named(model))
        assert limited_admin.get(url).status_code == 200
        assert_tells_nothing(limited_admin, theirs, url)
        assert_tells_nothing(limited_admin, theirs, url.replace("change", "history"))


def test_a_conversation_cannot_be_given_to_their_agent(limited_admin, sides):
    ours, theirs = sides
    url = form_url("session", ours.session.id)
    form = open_form(limited_admin, "session", ours.session.id)
    with untouched():
        data = {**form, "agent": str(theirs.agent)}
        status, _, text = assert_as_if_it_did_not_exist(limited_admin, theirs, "post", url, data)
    assert status == 200
    assert "That choice is not one of the available choices" in text


def test_users_groups_and_the_audit_trail_are_for_whoever_has_no_limit(limited_admin, sides):
    names = ("accounts_user", "auth_group", "audit_entry")
    found = [(name, url) for name, url in panel_paths(sides[1]) if name.startswith(names)]
    assert len(found) >= 15
    for name, url in found:
        for method in ("get", "post"):
            assert getattr(limited_admin, method)(url).status_code == 403, name
    index = limited_admin.get("/admin/").content.decode()
    assert "/admin/conversations/session/" in index
    assert not re.search("/admin/(auth|audit|accounts)/", index)
