"""Requests for every address of the site, with all filters of its lists."""

import uuid
from datetime import timedelta
from functools import partial
from itertools import product
from types import SimpleNamespace
from urllib.parse import urlencode

from django.utils import timezone

from conversations.agentdb import revision
from conversations.exports.files import FILES, FORMS
from conversations.models import PAYLOADS, Agent, ChatMessage, ModelCall, Run, Session, Task
from conversations.problems import kinds, outcomes
from conversations.selection import conditions, find
from conversations.selection.pagination import EPOCH, Cursor

from .addresses import ACCOUNT, PANEL, SITE, filled, pieces
from .admin_panel import EDITABLE, save
from .factories import make_session
from .histories import SAME_ERROR, make_history
from .limited import OURS, THEIRS, WORD, Side
from .pages import HTMX
from .redacting import confirmed
from .tables import TABLES

MODELS = dict(zip(TABLES, (Agent, Session, Run, Task, ChatMessage, ModelCall), strict=True))
ADDRESSES = {
    **{name: address for name, address in SITE.items() if name not in ACCOUNT},
    **{f"admin:{name}": address for name, address in PANEL.items()},
}
# Addresses that nobody can GET.
CLOSED = {"csp_report", "admin:login", "admin:logout", "admin:autocomplete"}
CLOSED |= {
    f"admin:{table}_{act}"
    for table in ("audit_entry", *(f"conversations_{model}" for model in TABLES))
    for act in ("add", "delete")
}
FOR_ADMINS = ("admin:", "conversations:redact", "conversations:erase")


def make_side() -> Side:
    """Conversations of every kind, and those with which the addresses are filled."""
    make_history(seed=1, size=40)
    Side(THEIRS)
    side = Side(OURS)
    # Many conversations are newer than this one.
    long_ago = timezone.now() - timedelta(days=500)
    side.old = make_session(SimpleNamespace(id=side.agent), updated_at=long_ago)
    return side


def look_back_in_every_way(monkeypatch):
    """Makes searches that look back do so in every way, although there are few conversations."""
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    monkeypatch.setattr(find, "WORTH_WALKING", 0)
    monkeypatch.setattr(find, "WORTH_COLLECTING", 0)
    monkeypatch.setattr(conditions, "QUICK_PROBES", 7)
    # The default for `probes`.
    monkeypatch.setattr(conditions.Condition.__init__, "__defaults__", (7, (), (), None, None))


def searches(side) -> list[dict]:
    """All filters of the list, in many combinations."""
    past = timezone.localdate() - timedelta(days=60)
    open_end = timezone.localdate() + timedelta(days=60)
    failed = Task.objects.filter(pk__in=side.rows[Task], node_type="tool_call").last()
    found = [{}, {"agent": side.agent}, {"external_id": "user"}, {"evals": "hidden"}]
    found += [{"start_date": past}, {"end_date": past}, {"end_date": open_end}]
    found += [{"active_from": past}, {"active_from": past, "active_until": open_end}]
    found += [{"problem": kind} for kind, _ in kinds.choices()]
    found += [{"outcome": outcome} for outcome, _ in outcomes.choices()]
    found += [{"search": word} for word in (WORD, "alpha", "zz", "shared")]
    found += [{"search": word, "scope": "all"} for word in (WORD, "alpha", "zz")]
    found += [{"search": side.named(model)} for model in MODELS.values()]
    found += [{"error": error} for error in (SAME_ERROR, failed.pk, "no such error")]
    found += [{"error": SAME_ERROR, "problem": "tool_error", "problem_from": past}]
    found += [{"error": "no reason was recorded"}, {"problem": "failed", "problem_until": open_end}]
    called = ["node", "tool"] + ["model"] * revision.has_model_call_links()
    found += [{name: "step", "step_from": past} for name in called]
    found += [{"node": "step", "tool": "step", "step": "failed", "step_until": open_end}]
    both = {"problem": "any", "search": WORD}
    found += [{**both, "scope": "all", "agent": side.agent, "evals": "hidden"}]
    found += [{**both, "end_date": past, "external_id": "user"}]
    return found


def queries(name: str, side, asked: list[dict]) -> list[dict]:
    """The query parameters to try for an address."""
    if name == "conversations:list":
        places = Session.objects.newest_first().values_list("updated_at", "pk")
        asked = asked + [{**query, "after": Cursor(*places[3])} for query in asked[::3]]
        return asked + [{**query, "before": Cursor(*places[3])} for query in asked[::3]]
    if name == "conversations:counts":
        return asked[::2]
    if name == "conversations:new":
        since = Cursor(EPOCH, uuid.UUID(int=0))
        open_pages = [{"session": side.session.id}, {"run": side.named(Run)}]
        return [*({**query, "since": since} for query in asked[::2]), *open_pages]
    if name == "conversations:rows":
        return asked[::3]
    if name == "conversations:errors":
        found = [{"kind": kind.name} for kind in kinds.problems()]
        of_agent = [{**query, "agent": side.agent} for query in ({}, *found)]
        return [{}, {"period": "30d", "sort": "rising"}, *found, *of_agent]
    if name.startswith("model_calls"):
        calls = [{}, {"status": "failed"}, {"slow": "0.1", "model": "step"}, {"agent": side.agent}]
        if revision.has_model_call_links():
            calls += [{"conversation": side.session.id}, {"run": side.named(Run)}]
        if name == "model_calls":
            place = Cursor(*ModelCall.objects.values_list("created_at", "pk").latest("created_at"))
            calls += [{"after": place}, {"before": place, "status": "failed"}]
        return calls
    if name == "slow":
        return [{}, {"agent": side.agent}]
    if name == "conversations:detail":
        return [*asked[::3], {"from": 0}]
    if name == "conversations:erase_all":
        return [{"external_id": "shared"}]
    if name == "conversations:export":
        return asked[::5]
    if name.endswith("_changelist"):
        terms = [WORD, "shared", f"python://{OURS}", *map(side.named, MODELS.values())]
        return [{}, {"_popup": "1"}, *({"q": term} for term in terms)]
    return [{}]


def paths(address: str, side, examples: dict):
    """Yields the paths of an address: for all payloads, files and file formats."""
    values = pieces(address, examples)
    if "<kind>" in address:
        for kind, (model, _, fields) in PAYLOADS.items():
            if model is not ModelCall or revision.has_model_call_links():
                for field in fields:
                    row = {"kind": kind, "row_id": str(side.named(model)), "field": field}
                    yield filled(address, values | row)
    elif "<name>.<form>" in address:
        for name, form in product(FILES, FORMS):
            yield filled(address, values | {"name": name, "form": form})
    elif "<run_id>" in address:
        for run_id in side.rows[Run]:
            yield filled(address, values | {"run_id": str(run_id)})
    elif address.endswith("/<session_id>/"):
        for session_id in (side.session.id, side.old.id):
            yield filled(address, values | {"session_id": str(session_id)})
    else:
        yield filled(address, values)


def open_page(side) -> dict[str, str]:
    """The headers with which an open page requests runs and rows."""
    runs, rows = (",".join(map(str, side.rows[model])) for model in (Run, Session))
    return {**HTMX, "X-Shown-Runs": runs, "X-Awaited-Runs": runs, "X-Rows": rows}


def requests(side, examples: dict, names, asked: list[dict]):
    """
    Yields (name, URL, headers) for each address with all its parameters, and with the first ones as
    a fragment, too.
    """
    for name in names:
        for path in paths(ADDRESSES[name], side, examples):
            for number, query in enumerate(queries(name, side, asked)):
                url = f"{path}?{urlencode(query)}"
                fragments = () if number or name.startswith("admin:") else (HTMX,)
                if name in ("conversations:new", "conversations:rows"):
                    fragments = (open_page(side),)
                for headers in ({}, *fragments):
                    yield name, url, headers


def changes(client, side):
    """
    Yields (what it is, a function that does it and returns the answer) for every change to
    conversations that an admin can make, in the order in which they are possible.
    """
    session = f"/conversations/{side.session.id}"
    message = f"{session}/messages/{side.named(ChatMessage)}/redact/"
    forms = {"agent": "description", "session": "external_id", "chatmessage": "content"}
    assert forms.keys() == EDITABLE.keys()

    def saved(model, field):
        response = save(client, model, side.named(MODELS[model]), **{field: "new"})
        assert response.status_code == 302
        return response

    def posted(url, data, status):
        response = client.post(url, data)
        assert response.status_code == status, url
        return response

    for model, field in forms.items():
        yield f"save the form of {model}", partial(saved, model, field)
    for url, data, status in (
        (f"{session}/reveal/", {"reason": "to see it"}, 302),
        (message, {"words": WORD}, 200),
        (message, confirmed(client, message, {"words": WORD}), 302),
        (f"{session}/erase/", {"confirmation": f"erase {str(side.session.id)[:8]}"}, 302),
        (
            "/conversations/erase/?external_id=shared",
            {"confirmation": "erase 2 conversations"},
            302,
        ),
    ):
        yield f"POST {url}", partial(posted, url, data, status)
