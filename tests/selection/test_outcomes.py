"""What the customer got, derived from a conversation's runs: as a filter, in rows and in files."""

import random
import re
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from conversations.problems import outcomes
from conversations.summaries import histories, summaries

from ..support.exports import ids, rows
from ..support.factories import (
    NULL,
    Json,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.histories import build_indexes
from ..support.limited import let_in_limited
from ..support.listing import COUNTS, NEW, match, shown_counts
from ..support.pages import LIST, get

pytestmark = pytest.mark.django_db

BEGAN = timezone.now() - timedelta(days=1)
# One letter for each run, in order, and for each message without a run: a run that answered (with
# just an output), one that wrote a message but has no output, failed, interrupted, running; a
# message of the agent without a run, and one of the customer.
WRITTEN = {
    "a": {},
    "e": {"output_data": NULL},
    "f": {"output_data": None},
    "i": {"output_data": NULL, "duration_seconds": None},
    "r": {"output_data": None, "duration_seconds": None, "updated_at": timezone.now()},
}
TOLD = {
    "": (None, None),
    "a": ("answered", "The customer got an answer all the same."),
    "ae": ("answered", "The customer got an answer all the same."),
    "f": ("none", "The customer got no answer."),
    "af": ("none", "The customer got no answer."),
    "i": ("none", "The customer got no answer."),
    "ffi": ("none", "The customer got no answer in 3 tries."),
    "faff": ("none", "The customer got no answer in 2 tries."),
    "fa": ("later", "The customer got an answer later, after 1 more try."),
    "fe": ("later", "The customer got an answer later, after 1 more try."),
    "affiaa": ("later", "The customer got an answer later, after 3 more tries."),
    "ffafa": ("later", "The customer got an answer later, after 1 more try."),
    "fs": (
        "later",
        "The customer got no answer at first. The agent wrote later, outside a run.",
    ),
    "sf": ("none", "The customer got no answer."),
    "fc": ("none", "The customer got no answer."),
    "r": (
        "waiting",
        "The customer is waiting for an answer: the agent is still working on it.",
    ),
    "fr": (
        "waiting",
        "The customer is waiting for an answer: the agent is still working on it.",
    ),
    "ra": (
        "waiting",
        "The customer is waiting for an answer: the agent is still working on it.",
    ),
    "c": (None, None),
    "cs": (None, None),
}


def make(letters, agent=None, **fields):
    session = make_session(agent, **fields)
    for number, letter in enumerate(letters):
        at = BEGAN + timedelta(minutes=number)
        if letter in "sc":
            role = "assistant" if letter == "s" else "user"
            make_message(session, role, created_at=at)
            continue
        times = {"created_at": at, "updated_at": at}
        run = make_run(session, **{**times, **WRITTEN[letter]})
        make_message(session, "user", run_id=run.id, created_at=at)
        if letter == "e":
            make_message(session, "assistant", "", run_id=run.id, created_at=at)
        else:
            # Neither of these counts as an answer.
            for role in ("system", "tool"):
                make_message(session, role, run_id=run.id, created_at=at)
    return session


def outcome_in_words(letters) -> str | None:
    """The rule once more, in plain Python."""
    runs = [letter for letter in letters if letter not in "sc"]
    if not runs:
        return None
    if "r" in runs:
        return "waiting"
    unanswered = [n for n, letter in enumerate(letters) if letter in "fi"]
    if not unanswered:
        return "answered"
    last_run = max(n for n, letter in enumerate(letters) if letter not in "sc")
    after = letters[unanswered[-1] :]
    return "later" if set(after) & {"a", "e"} or "s" in letters[last_run:] else "none"


@pytest.fixture(params=["walked", "indexed"])
def _found(request):
    if request.param == "indexed":
        build_indexes()


@pytest.mark.parametrize("letters", TOLD)
def test_the_outcome_follows_from_the_runs(letters):
    name, words = TOLD[letters]
    session = make(letters)
    [row] = summaries([session.id])
    history = histories([row]).get(session.id, "")
    found = outcomes.outcome_of(history)
    assert (found and found.name) == name == outcome_in_words(letters)
    # A conversation without problems needs no sentence: its history is short.
    if words and name != "answered":
        assert outcomes.sentence(history) == words


@pytest.mark.usefixtures("_found")
def test_the_filter_and_the_files_agree_with_the_rule(support_client):
    chance = random.Random(1)
    wanted = {}
    for _ in range(120):
        letters = "".join(chance.choices("aaaefirsc", k=chance.randrange(6)))
        wanted[make(letters).id] = outcome_in_words(letters)
    found = {}
    for name, _ in outcomes.choices():
        found |= dict.fromkeys(get_all(support_client, outcome=name), name)
    assert found == {pk: name for pk, name in wanted.items() if name}
    for path in ("conversations.csv", "conversations.jsonl"):
        in_file = {row["session_id"]: row["outcome"] or None for row in rows(support_client, path)}
        assert in_file == {str(pk): name for pk, name in wanted.items()}


def get_all(client, **filters):
    page = get(client, LIST, **filters)
    yield from (row.pk for row in page.context["rows"])
    if after := page.context["next_cursor"]:
        yield from get_all(client, **{**filters, "after": after})


@pytest.mark.usefixtures("_found")
def test_a_rare_outcome_is_found_behind_many_answered_conversations(support_client, monkeypatch):
    for name in ("QUICK_PROBES", "SLOW_PROBES"):
        monkeypatch.setattr(f"conversations.selection.conditions.{name}", 3)
    made = [make(letters, updated_at=BEGAN) for letters in ("fa", "f", "r")]
    for number in range(40):
        make("a", updated_at=BEGAN + timedelta(minutes=number))
    for name, session in zip(("later", "none", "waiting"), made, strict=True):
        assert match(support_client, outcome=name) == [session.id], name


@pytest.mark.usefixtures("_found")
def test_it_works_with_the_other_filters(support_client):
    cache.clear()
    agent = make_agent()
    none, other = make("f", agent), make("f")
    later, calls = make("fa", agent), make("a", agent)
    run = make_run(calls)
    make_task(run, calls, "look-up", "tool_call", output=Json({"result": "Error: offline"}))
    make_message(later, content="needle")
    assert match(support_client, outcome="none", agent=agent.id) == [none.id]
    assert match(support_client, outcome="none") == [other.id, none.id]
    assert match(support_client, outcome="later", search="needle") == [later.id]
    assert match(support_client, outcome="none", search="needle") == []
    assert match(support_client, outcome="later", problem="failed") == [later.id]
    assert match(support_client, outcome="answered", problem="any") == [calls.id]
    page = get(support_client, COUNTS, outcome="answered")
    assert page.context["total"] == {"exact": 1}
    numbers = shown_counts(page)
    assert (numbers["Any problem"], numbers["Tool call failed"], numbers["Run failed"]) == (
        "1",
        "1",
        "0",
    )
    assert ids(support_client, outcome="none", agent=agent.id) == [str(none.id)]
    since = "0.00000000000000000000000000000000"
    assert get(support_client, NEW, since=since, outcome="none").json()["new"] == "2"


def test_a_chip_names_it_and_the_form_offers_it(support_client):
    page = get(support_client, outcome="none")
    [chip] = page.context["chips"]
    assert (chip["label"], chip["text"], chip["without"]) == ("Customer got", "No answer", "")
    [shown] = re.findall(r'<select [^>]*name="outcome".*?</select>', page.content.decode())
    assert re.findall(r">([^<]+)</option>", shown) == [
        "Anything",
        "Answered",
        "No answer",
        "Answered later",
        "Waiting for an answer",
    ]
    assert '<option value="none" selected>' in shown


@pytest.mark.parametrize("value", ["x", "NONE", "none,later", "\x00", "none\n"])
def test_an_unknown_value_matches_nothing(support_client, value):
    make("f")
    page = get(support_client, outcome=value)
    assert page.context["filter"].errors["outcome"]
    assert page.context["rows"] == []
    get(support_client, f"{LIST}export/conversations.csv", outcome=value, status=400)


@pytest.mark.parametrize("revision", ["0002", "0003", "0004", "0005"])
def test_older_revisions_derive_outcomes_without_durations(support_client, at_revision, revision):
    made = {letters: make(letters) for letters in ("a", "e", "f", "fa", "fe", "r")}
    at_revision(revision)
    assert match(support_client, outcome="answered") == [made["e"].id, made["a"].id]
    # Running and failed runs cannot be told apart.
    assert match(support_client, outcome="none") == [made["r"].id, made["f"].id]
    assert match(support_client, outcome="later") == [made["fe"].id, made["fa"].id]
    assert get(support_client, outcome="waiting").context["filter"].errors["outcome"]


def test_a_row_with_problems_says_first_what_the_customer_got(support_client):
    made = {letters: make(letters) for letters in ("f", "fa", "fr", "a", "r")}
    retried = make("a")
    make_model_call(retried, make_run(retried), response_code=429)
    page = get(support_client)
    shown = {row.pk: row_state(page, row.pk) for row in page.context["rows"]}
    assert shown == {
        made["f"].id: "No answer 1 run failed",
        made["fa"].id: "Answered later 1 run failed",
        made["fr"].id: "Waiting for an answer 1 run failed",
        made["a"].id: "",
        made["r"].id: "Running",
        retried.id: "Answered 1 model call failed",
    }


def row_state(page, pk) -> str:
    html = page.content.decode()
    row = html[html.index(f'id="row-{pk}"') :]
    state = row[: row.index('class="counts"')].partition('class="state"')[2]
    return " ".join(re.sub(r"<[^>]*>?", " ", f"<{state}").split())


def test_an_agent_limit_reveals_nothing_about_other_agents(client):
    ours, theirs = make_agent(), make_agent()
    mine = make("f", ours)
    make("f", theirs)
    let_in_limited(client, "Support", [str(ours.id)])
    assert match(client, outcome="none") == [mine.id]
    assert get(client, COUNTS, outcome="none").context["total"] == {"exact": 1}
    assert ids(client, outcome="none") == [str(mine.id)]
