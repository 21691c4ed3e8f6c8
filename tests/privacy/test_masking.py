"""
Users without the permission see no personal data, on any page and in any file.

Personal data is planted in every text and JSON column, and at places where texts are cut. Then
every URL is requested, and no response may contain any of it.
"""

import json
import re
from html import unescape

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import connections, models
from django.urls import reverse

from accounts import lockout
from audit.models import Act, Entry, Text
from conversations import sessions
from conversations.access.connections import mask_texts
from conversations.indexes import catalogue, state
from conversations.models import PAYLOADS, Agent, ChatMessage, ModelCall, Run, Session, Task
from conversations.selection.pagination import EPOCH, Cursor
from privacy import masking
from privacy.stand_ins import stand_in

from ..support.addresses import ACCOUNT, SITE
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
from ..support.listing import TYPING, be_patient, listed
from ..support.masking import EMAIL, PHONE, found_in, masking_on, short
from ..support.pages import body, error_links
from ..support.planting import plant_everywhere
from ..support.signing_in import make_user, sign_in
from ..support.trail import read

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]

CARD = "4539 5787 6362 1486"
# A random id in the page may contain the few digits that are looked for.
NO_DIGITS = "abcdefab-cdef-abcd-efab-cdefabcdefab"
IBAN = "EE47 1000 0010 2014 5685"
# The words before it are for searching, and are not masked.
PLANTED = f"canary says {EMAIL}, {PHONE}; {CARD}, {IBAN} end"
# No UUID, time or style sheet contains these by chance, not even with a plus for a space: a time
# may well end in 1000+00:00.
TELLING = [
    *("zoe.q", ".quill", "quill@", "planted-m", "mail.example", "372 5", "5987 6", "59876543"),
    *("7 6543", "4539 5", "5787 6", "6362 1", "4539578", "EE47", "1000 001", "0010 2", "2014 5"),
]
DOCUMENT = {
    "text": PLANTED,
    EMAIL: "key",
    "nested": json.dumps({"words": f"line\n{PLANTED}", "ä": [1.5]}),
    "card": int(CARD.replace(" ", "")),
    "phone": int(PHONE[1:].replace(" ", "")),
}
# The lengths at which the list, transcripts, explanations, reasons and payloads cut texts.
CUTS = (60, 200, 300, 500, 3000)
NO_CONTENT = {
    *("home", "favicon", "csp_report", "conversations:reveal"),
    *("help:index", "help:document", "help:picture"),
    *ACCOUNT,
    # This URL itself contains the external id.
    "conversations:erase_all",
}
HOME = ("home_now", "home_rising", "home_figures", "home_charts")
PAGES = (
    "agents", "slow", "model_calls", "model_calls_totals", "monitor", "monitor_state",
)  # fmt: skip
OF_AGENT = ("agent", "agent_workflow", "agent_figures", "agent_charts", "agent_changes")
# Nothing rises within one conversation.
ONLY_NUMBERS = {
    "conversations:counts",
    "conversations:new",
    "model_calls_totals",
    "monitor_state",
    *HOME[1:],
    *OF_AGENT[2:],
}
# URLs whose results may come from our optional indexes.
BY_INDEX = {"conversations:list", "conversations:errors", "conversations:export", *ONLY_NUMBERS}
BY_INDEX |= {*PAGES, "model_calls_export"}


@pytest.fixture
def masked(settings, db):
    with masking_on(settings):
        yield


# Tokens against forged requests: random, so they may contain anything.
RANDOM = re.compile(r"\b(?:[A-Za-z0-9]{32}|[A-Za-z0-9]{64})\b")


def told(answer: str) -> list[str]:
    text = RANDOM.sub("", unescape(answer))
    return [part for part in TELLING if part in text or part.replace(" ", "+") in text]


def stand_ins(answer: str) -> set[str]:
    return {*found_in(unescape(answer))}


def known() -> set[str]:
    """The stand-ins for what is planted, long and short."""
    pieces = {"e-mail": EMAIL, "phone": PHONE, "card": CARD, "IBAN": IBAN}
    known = {stand_in(*each) for each in pieces.items()}
    return known | {short(each) for each in known}


# Planting


def filler(length: int) -> str:
    return f"{('word ' * length)[: length - 1]} " if length > 0 else ""


def straddling(piece: str, offset: int, *limits: int) -> str:
    """A text in which the piece begins `offset` letters before each limit."""
    text = ""
    for limit in limits:
        text += f"{filler(limit - offset - len(text))}{piece} "
    return text


def cuts() -> list[tuple[str, int]]:
    """(piece, number of its letters before the cut)"""
    pieces = (EMAIL, PHONE, CARD, IBAN)
    return [(piece, offset) for piece in pieces for offset in range(1, len(piece), 5)]


def plant_at_cuts(agent):
    """Plants across the places where columns are cut, and the edges of what a snippet reads."""
    made = []
    for number, (piece, offset) in enumerate(cuts()):
        session = make_session(agent, external_id=f"cut-{number}")
        made.append(session)
        name = straddling(piece, offset, 60)
        preview = straddling(piece, offset, 200, 3000)
        make_message(session, content=preview)
        for start in range(3):
            text = straddling(piece, offset, *CUTS[start::3])
            make_message(session, "user", text)
            run = make_run(session, output_data=NULL)
            make_message(session, "user", f"needle {text}", run_id=run.id)
            document = Json({"message": text, "args": text, "result": f"Error: {text}"})
            both = {"inputs": document, "output": document}
            make_task(run, session, name, "tool_call", seq=0, **both)
            make_task(run, session, straddling(piece, offset, 80), name, seq=1, **both)
            make_task(run, session, "llm", prompt=text, seq=2, errors=document)
            make_task(run, session, None, name, seq=2)
            make_task(run, session, "list", errors=Json([text]), seq=3)
            branches = Json({"branches": [piece, text]})
            make_task(run, session, "both", "parallel", output=branches, seq=4)
            large = Json({"truncated": True, "bytes": 5000, "preview": text[:300]})
            make_task(run, session, "large", output=large, seq=5)
            make_model_call(
                session, run, response_code=500, response_data=document, model=name or "model"
            )
        make_message(session, content=preview)
        # The list shows less of an error than it reads, but merges consecutive spaces.
        newest_problem = make_session(agent)
        wide = f"Error: {'word':{299 - offset}} {piece} "
        make_task(
            make_run(newest_problem),
            newest_problem,
            name,
            "tool_call",
            output=Json({"result": wide}),
        )
        for edge in (40, 90, 130, 170):
            for words in (
                f"{filler(200)}needle {filler(edge - offset)}{piece} {filler(200)}",
                f"{filler(200)}{piece} {filler(edge + offset - len(piece))}needle {filler(200)}",
            ):
                make_message(make_session(agent), content=words)
        # Masked addresses are short, so the snippet shows everything that it read before the word.
        near = filler(90 - 2 * len(f"{EMAIL} ") - (len(piece) - offset) - 1)
        words = f"{filler(200)}{piece} {EMAIL} {EMAIL} {near}needle {filler(200)}"
        make_message(make_session(agent), content=words)
    return made


def test_personal_data_is_planted_in_every_text_column():
    plant_everywhere(PLANTED, DOCUMENT)
    for model in (Agent, Session, Run, Task, ChatMessage, ModelCall):
        for field in model._meta.fields:
            if isinstance(field, models.TextField | models.JSONField):
                with connections["agents"].cursor() as cursor:
                    cursor.execute(
                        f"SELECT count(*) FROM {model._meta.db_table}"
                        f" WHERE position(%s IN {field.column}::text) > 0",
                        [EMAIL],
                    )
                    assert cursor.fetchone() > (0,), field


# Requesting everything


def collected():
    """({name of a URL: addresses}, a function that adds to them)"""
    found = {name: [] for name in SITE}

    def add(name, *args, queries=("",)):
        url = reverse(f"conversations:{name}", args=args)
        found[f"conversations:{name}"] += [url + query for query in queries]

    return found, add


def addresses(session) -> dict[str, list[str]]:
    """{name of a URL: addresses of pages that show something of the conversation}"""
    agent = session.agent_id
    found, add = collected()
    searches = ["?search=canary", "?search=canary&scope=all", "?search=says&scope=all"]
    searches += ["?external_id=canary+says", f"?agent={agent}", "?evals=hidden"]
    kinds = ("any", "failed", "model_error", "tool_error", "task_error")
    searches += [f"?problem={kind}" for kind in kinds]
    add("list", queries=["", *searches])
    add("counts", queries=["", *searches])
    add("new", queries=[f"?since={Cursor(EPOCH, session.id)}"])
    add("rows")
    add("errors", queries=["", f"?agent={agent}", *(f"?kind={kind}" for kind in kinds[2:])])
    for form in ("csv", "jsonl", "xlsx"):
        for name in ("conversations", "messages", "tasks"):
            add("export", name, form, queries=[f"?agent={agent}"])
        add("export", "tasks", form, queries=["?payloads=1"])
    add_conversation(add, session)
    found |= {name: [reverse(name)] for name in (*HOME, *PAGES)}
    found |= {name: [reverse(name, args=[agent])] for name in OF_AGENT}
    exports = [reverse("model_calls_export", args=[form]) for form in ("csv", "jsonl", "xlsx")]
    summaries = [reverse("summaries", args=[form]) for form in ("csv", "xlsx")]
    tables = [f"{name}.{form}" for name in ("nodes", "tools", "models") for form in ("csv", "xlsx")]
    slow = [f"{reverse('slow')}{table}" for table in tables]
    return found | {"model_calls_export": exports, "summaries": summaries, "slow_file": slow}


def add_conversation(add, session):
    queries = ["", "?search=canary", "?source", "?search=says&source", "?from=0"]
    first = ChatMessage.objects.filter(session_id=session.id).first()
    add("detail", session.id, queries=[*queries, f"?m={first.pk}"])
    add("print", session.id)
    add("runs", session.id)
    add("transcript", session.id, "txt")
    add("transcript", session.id, "md")
    add("json", session.id)
    for message in ChatMessage.objects.filter(session_id=session.id):
        add("message", session.id, message.pk, queries=["", "?source", "?search=canary"])
        add("redact", session.id, message.pk)
    add("erase", session.id)
    for run in Run.objects.filter(session_id=session.id):
        add("run", session.id, run.pk)
    for task in Task.objects.filter(session_id=session.id):
        add("task", session.id, task.pk)
    for kind, (model, _, fields) in PAYLOADS.items():
        for row in model.objects.filter(session_id=session.id):
            for field in fields:
                add("payload", session.id, kind, row.pk, field)
                add("payload_file", session.id, kind, row.pk, field, queries=["", "?download"])


def answers(client, urls: list[str], *asked_as: dict):
    """(url, response including headers)"""
    for url in urls:
        for headers in asked_as:
            response = client.get(url, headers=headers)
            assert response.status_code == 200, url
            yield url, f"{dict(response.headers)}\n{body(response)}"


@pytest.fixture
def planted(monkeypatch):
    be_patient(monkeypatch)
    found = plant_everywhere(PLANTED, DOCUMENT)
    call_command("rollup", verbosity=0)
    return found


@pytest.mark.parametrize("indexed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_no_response_contains_planted_personal_data(masked, planted, support_client, indexed):
    if indexed:
        build_indexes()
    # Redacting and erasing need permissions of their own.
    support = Group.objects.get(name="Support")
    names = ("redact_session", "erase_session")
    support.permissions.add(*Permission.objects.filter(codename__in=names))
    found, rows = addresses(planted), {"X-Rows": str(planted.id)}
    assert {name for name, urls in found.items() if not urls} == NO_CONTENT
    for name, urls in found.items():
        # URLs that name a row find it without the indexes.
        if not indexed or name in BY_INDEX:
            for url, answer in answers(support_client, urls, rows, {**TYPING, **rows}):
                assert not told(answer), url
                assert stand_ins(answer) <= known(), url


@pytest.mark.slow
def test_with_the_permission_every_response_contains_it(masked, planted, admin_client):
    for name, urls in addresses(planted).items():
        if name not in ONLY_NUMBERS:
            for url, answer in answers(admin_client, urls, {"X-Rows": str(planted.id)}):
                is_empty = "No value" in answer or answer.endswith(("\nnull", "\n"))
                assert told(answer) or (is_empty and "payload" in name), url


def test_without_the_setting_everybody_sees_it(planted, support_client):
    for url in (f"/conversations/{planted.id}/", "/conversations/?search=canary"):
        assert EMAIL in support_client.get(url).content.decode()


@pytest.mark.slow
@pytest.mark.parametrize("indexed", [False, True])
def test_no_part_is_shown_where_a_text_was_cut(masked, monkeypatch, support_client, indexed):
    be_patient(monkeypatch)
    monkeypatch.setattr("conversations.errors.collect.GROUPS", 10_000)
    made = plant_at_cuts(make_agent("Shop"))
    if indexed:
        build_indexes()
    urls = ["/conversations/errors/", "/conversations/?problem=any"]
    for term in ("needle", "word"):
        urls += [f"/conversations/?search={term}{scope}" for scope in ("", "&scope=all")]
    for number, session in enumerate(() if indexed else made):
        found, add = collected()
        add_conversation(add, session)
        for name in ("detail", "run", "transcript"):
            urls += found[f"conversations:{name}"]
        # Conversations differ only in the letters on either side of the cut.
        urls += found["conversations:task"][number % 3 :: 3]
    for url in urls:
        for page, answer in pages(support_client, url):
            assert not told(answer), page
            # No stand-in was made from a part.
            assert stand_ins(answer) <= known(), page


def pages(client, url: str):
    """(url, response) for all pages of a list."""
    while url:
        response = client.get(url)
        assert response.status_code == 200
        answer = body(response)
        yield url, answer
        older = re.search(r'rel="next" href="(\?[^"]*after=[^"]+)"', answer)
        url = older and f"/conversations/{unescape(older[1])}"


def test_planted_words_cross_every_cut(monkeypatch, support_client):
    """Without masking, parts of them are visible, so the test above can fail."""
    be_patient(monkeypatch)
    plant_at_cuts(make_agent("Shop"))
    answers = "".join(
        answer for _, answer in pages(support_client, "/conversations/?search=needle")
    )
    for piece, part in ((EMAIL, "zoe.q"), (PHONE, "+372 5"), (CARD, "4539 5"), (IBAN, "EE47 1")):
        assert answers.count(part) > answers.count(piece) > 0


@pytest.mark.parametrize("field", ["input_data", "output_data"])
def test_a_payload_cut_for_the_page_shows_no_part(masked, monkeypatch, support_client, field):
    session = make_session()
    monkeypatch.setattr("conversations.detail.payloads.TREE_TEXT", 600)
    for piece, offset in cuts():
        text = straddling(piece, offset + len('{"text": "'), 600)
        run = make_run(session, **{field: Json({"text": text + "word " * 50})})
        page = support_client.get(f"/conversations/{session.id}/runs/{run.id}/{field}/")
        answer = page.content.decode()
        assert "Not all of it is shown" in answer
        assert "word word" in answer
        assert not told(answer)
        assert stand_ins(answer) <= known()


def test_a_prompt_cut_for_the_page_shows_no_part(masked, monkeypatch, support_client):
    monkeypatch.setattr("conversations.detail.payloads.TEXT_UP_TO", 600)
    session = make_session()
    run = make_run(session)
    for piece, offset in cuts():
        task = make_task(run, session, prompt=straddling(piece, offset, 600) + "word " * 50)
        answer = support_client.get(
            f"/conversations/{session.id}/tasks/{task.id}/"
        ).content.decode()
        assert "Not all of it is shown" in answer
        assert not told(answer)


# What still works


@pytest.mark.slow
def test_a_masked_group_of_errors_leads_to_its_conversations(masked, support_client):
    session, other = make_session(), make_session()
    for number, each in enumerate((session, other)):
        run = make_run(each)
        words = f"no account for {EMAIL}" if number else f"no such user {EMAIL}"
        make_task(run, each, "look_up", "tool_call", output=Json({"result": f"Error: {words}"}))
    build_indexes()
    response = support_client.get("/conversations/errors/")
    assert [group.first_is_known for group in response.context["found"].groups] == [True, True]
    links = error_links(response)
    assert len(links) == 2
    found = [listed(support_client.get(link)) for link in links]
    assert sorted(found) == sorted([[session.id], [other.id]])
    for link in links:
        answer = support_client.get(link).content.decode()
        assert not told(answer)
        assert "look_up: no " in answer


def test_a_masked_group_of_several_models_leads_to_all_of_them_and_to_each(masked, support_client):
    sessions = {}
    for model in ("small", f"of {EMAIL}"):
        session = sessions[model] = make_session()
        words = Json(f"no account for {EMAIL}")
        make_model_call(
            session, make_run(session), model=model, response_code=500, response_data=words
        )
    response = support_client.get("/conversations/errors/")
    html = response.content.decode()
    assert not told(html)
    assert "2 models" in html
    [link] = error_links(response)
    assert set(listed(support_client.get(link))) == {each.id for each in sessions.values()}
    [row] = response.context["rows"]
    queries = {each["name"].name: each["query"] for each in row["names"]}
    found = [listed(support_client.get(f"/conversations/?{query}")) for query in queries.values()]
    assert sorted(found) == sorted([session.id] for session in sessions.values())
    for query in (link, *(f"/conversations/?{query}" for query in queries.values())):
        assert not told(support_client.get(query).content.decode())


def test_a_link_to_a_deleted_error_finds_nothing(masked, support_client):
    response = support_client.get("/conversations/?error=12345678-1234-1234-1234-123456789012")
    assert response.context["rows"] == []


def test_a_message_without_personal_data_is_its_own_link(masked, support_client):
    session = make_session()
    run = make_run(session)
    make_task(run, session, "step", "tool_call", output=Json({"result": "Error: lost"}))
    [link] = error_links(support_client.get("/conversations/errors/"))
    assert "error=step%3A+lost" in link


def test_a_search_finds_what_is_masked(masked, support_client):
    session = make_session()
    make_message(session, content=f"Write to {EMAIL} please")
    response = support_client.get(f"/conversations/?search={EMAIL}")
    [row] = response.context["rows"]
    assert row.pk == session.id
    assert [each.html for each in row.snippets] == [f"Write to {stand_in('e-mail', EMAIL)} please"]


def test_tools_are_found_by_a_masked_name(masked, support_client):
    session = make_session()
    run = make_run(session)
    make_task(run, session, "step", "tool_call", tool_uri=f"mcp://x/{EMAIL}/needle")
    response = support_client.get("/conversations/?search=needle&scope=all")
    assert listed(response) == [session.id]


def test_conversations_of_a_masked_external_id_still_belong_together(masked, support_client):
    session, other, third = (make_session(external_id=id_) for id_ in (EMAIL, EMAIL, f"x{EMAIL}"))
    page = support_client.get(f"/conversations/{session.id}/").content.decode()
    assert f"/conversations/{other.id}/" in page
    assert f"/conversations/{third.id}/" not in page.split("same-person")[1]
    assert f"Also from <bdi>{short(stand_in('e-mail', EMAIL))}</bdi>" in page


def test_masking_alone_does_not_make_a_message_look_cut(masked, support_client):
    session = make_session()
    make_message(session, content=PLANTED)
    make_message(session, content="word " * 1000)
    page = support_client.get(f"/conversations/{session.id}/").content.decode()
    assert page.count("Show all") == 1


def test_masked_files_are_json(masked, planted, support_client):
    document = json.loads(
        body(support_client.get(f"/conversations/{planted.id}/conversation.json"))
    )
    assert document["runs"][0]["input_data"]["card"] == stand_in("card", CARD)
    assert document["runs"][0]["input_data"]["phone"] == stand_in("phone", PHONE)
    for kind, (model, _, fields) in PAYLOADS.items():
        for row in model.objects.filter(session_id=planted.id):
            for field in set(fields) - {"prompt"}:
                url = f"/conversations/{planted.id}/{kind}/{row.pk}/{field}/raw/"
                json.loads(body(support_client.get(url)))


def test_a_payload_that_is_one_number_stays_json(masked, support_client):
    session, shown = make_session(), stand_in("card", CARD)
    run = make_run(session, context=Json(4539578763621486))
    url = f"/conversations/{session.id}/runs/{run.id}/context/"
    assert body(support_client.get(f"{url}raw/")) == f'"{shown}"'
    assert short(shown) in support_client.get(url).content.decode()
    document = json.loads(
        body(support_client.get(f"/conversations/{session.id}/conversation.json"))
    )
    assert document["runs"][0]["context"] == shown


@pytest.mark.slow
def test_our_indexes_are_known_while_masking_is_active(masked, monkeypatch):
    # Digests that identify index versions may look like anything.
    monkeypatch.setattr(catalogue.Index, "digest", CARD)
    build_indexes()
    names = state.ready()
    state.forget()
    with masking.active():
        assert state.ready() == names


# How it works


def test_without_a_request_nothing_is_masked(masked, planted):
    details = sessions.get_session_details(planted.id)
    assert EMAIL in details.messages[0].content
    with masking.active():
        assert EMAIL not in str(sessions.get_session_details(planted.id))
        assert EMAIL not in str(sessions.get_sessions_summary())
    assert not masking.is_active()


@pytest.mark.parametrize(
    "sql",
    ["%s::text", "%s::varchar", "%s", "ARRAY[%s]::text[]", "%s::varchar[]", "to_jsonb(%s::text)",
     "to_json(%s::text)", "ROW(%s::text)", "%s::refcursor"],
)  # fmt: skip
def test_everything_that_the_database_returns_is_masked(masked, sql):
    value = f"{{{EMAIL}}}" if "varchar[]" in sql else EMAIL
    with masking.active(), connections["agents"].cursor() as cursor:
        cursor.execute(f"SELECT {sql}", [value])
        assert not told(str(cursor.fetchone()))


@pytest.mark.parametrize("kind", ["text", "jsonb"])
def test_bytes_that_psycopg_does_not_decode_are_refused(masked, kind):
    with masking.active(), connections["agents"].cursor() as cursor:
        cursor.execute("SET LOCAL client_encoding TO SQL_ASCII")
        cursor.execute(f"SELECT %s::{kind}", [f'"{EMAIL}"'])
        with pytest.raises(masking.Undecoded):
            cursor.fetchone()


def test_only_reads_from_the_agent_database_are_masked(settings):
    reading = connections.create_connection("agents")
    try:
        reading.ensure_connection()
        with masking.active():
            assert answer(reading) == EMAIL
            settings.MASK_PERSONAL_DATA = True
            mask_texts(reading)
            assert answer(reading) == stand_in("e-mail", EMAIL)
            writing = connections["agents_write"]
            mask_texts(writing)
            assert answer(writing) == EMAIL
    finally:
        reading.close()


def answer(connection) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text", [EMAIL])
        return cursor.fetchone()[0]


def test_the_audit_trail_keeps_no_personal_data(masked, support_client):
    support_client.get("/conversations/", {"search": PHONE})
    entry = Entry.objects.get(act=Act.SEARCHED)
    fingerprint = entry.details.pop("fingerprint")
    assert re.fullmatch("[0-9a-f]{32}", fingerprint)
    assert read(entry.details) == {"query": f"search={stand_in('phone', PHONE)}", "shown": 0}
    assert PHONE not in str(list(Text.objects.values()))


def test_the_audit_trail_does_not_mask_account_names(masked, client):
    make_user(EMAIL)
    sign_in(client, EMAIL, "wrong")
    assert Entry.objects.get(act=Act.SIGN_IN_FAILED).details == {
        "account": EMAIL,
        "guessed": lockout.guessed(EMAIL),
        "how": "password",
    }


@pytest.mark.parametrize(
    "content",
    [
        *(r"jane\@example.com", "jane&#64;example.com", "jane@**example**.com"),
        "jane&commat;example.com",
        *(r"415\-555\-0108", "*+372* 5123 4567", "`+372 5123` 4567", "+372 **51**23 4567"),
        *(
            "[mail me](mailto:jane&#64;example.com)",
            "[x](tel:%2B37251234567)",
            "> jane\\@example.com",
            *(
                r"jane\_doe@example.com",
                r"jane.doe@example\.com",
                "j**a**ne.d@example.com",
                "ja_n_e@example.com",
            ),
            *(
                "+1&nbsp;415&nbsp;555&nbsp;0108",
                r"4111\-1111\-0611\-4567",
                "[jane](https://x.example)@example.com",
            ),
            *("Phone:\n\n37251234567", "**Phone**\n\n> 37251234567", "```\njane@example.com\n```"),
        ),
        *("* a\n* jane&#64;example.com", "| a |\n|---|\n| jane\\@example.com |"),
        '[x](https://x.example "jane&#64;example.com")',
    ],
)
def test_personal_data_that_markdown_reveals_is_masked(viewer_client, settings, content):
    session = make_session(id=NO_DIGITS)
    make_message(session, "assistant", content)
    settings.MASK_PERSONAL_DATA = True
    page = unescape(viewer_client.get(f"/conversations/{session.id}/").content.decode())
    shown = re.sub("<.*?>", "", page)
    assert not re.search("jane.{0,6}example|example.com|0108|4567", shown)
    assert "jane" not in page
    assert "51234567" not in page


@pytest.mark.parametrize(
    "content", ["*jane*@example.com", "+372 **5123** 4567", "`jane`@example.com"]
)
@pytest.mark.parametrize("query", ["", "?search=Contact"])
def test_what_previews_and_snippets_leave_out_hides_no_personal_data(
    viewer_client, settings, content, query
):
    filler = "so " * 20
    session = make_session(id=NO_DIGITS)
    make_message(session, "assistant", f"{filler}Contact: {content}")
    settings.MASK_PERSONAL_DATA = True
    page = unescape(viewer_client.get(f"/conversations/{query}").content.decode())
    shown = re.sub("<.*?>", "", page.partition('<ol class="rows"')[2])
    assert "Contact: [" in shown
    assert not re.search("jane|example|4567", shown)
