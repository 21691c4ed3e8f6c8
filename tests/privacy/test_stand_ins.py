"""Masked people can be told apart, but nobody can tell who they are."""

import json
import random
import re
from html import unescape
from urllib.parse import urlencode

import pytest

from conversations.models import Task
from privacy import stand_ins
from privacy.personal_data import mask, mask_json
from privacy.stand_ins import is_asked_for, stand_in

from ..support.exports import rows
from ..support.factories import Json, make_agent, make_message, make_run, make_session, make_task
from ..support.histories import build_indexes
from ..support.masking import Page, found_in, masking_on, short
from ..support.pages import HTMX, body

SPELLINGS = {
    "e-mail": [
        *("jane.doe@example.com", "Jane.Doe@EXAMPLE.com", "jane.doe%40example.com"),
        *("jane.doe＠example．com", "jane.doe@example。com", "ｊane.doe@example.com"),
        *(r"jane.doe\@example.com", r"\u006aane.doe@example.com", r"\\u006aane.doe@example.com"),
        *("jane\u00ad.doe@example.com", "mailto%3Ajane.doe%40example.com"),
        *(r"\u003cjane.doe@example.com", "'jane.doe@example.com", "_jane.doe@example.com_"),
    ],
    "phone": [
        *("+372 5123 4567", "+37251234567", "00372 5123 4567", "0037251234567", "37251234567"),
        *("＋３７２ ５１２３ ４５６７", "+372-5123-4567", "(+372) 5123/4567"),
        *("+372\u00a05123.4567", "+372 (0) 5123 4567", "+372(0)51234567", "+٣٧٢ ٥١٢٣ ٤٥٦٧"),
    ],
    "card": ["4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111"],
    "IBAN": ["EE38 2200 2210 2014 5685", "ee382200221020145685", "EE38-2200-2210-2014-5685"],
}
KINDS = [(kind, value) for kind, values in SPELLINGS.items() for value in values]
WORDS = ["order", "and", "is", "the number", "my phone", "tel", "card", "gsm", "$ 12", "x 17", "\n"]


@pytest.fixture(autouse=True)
def key(settings):
    settings.AUDIT_KEY = "k" * 50


def text_of(chance: random.Random, length: int = 8) -> str:
    """A text with values among other words."""
    values = [value for _, value in KINDS]
    chosen = (chance.choice(values if chance.random() < 0.4 else WORDS) for _ in range(length))
    return chance.choice([", ", "; ", " | "]).join(chosen)


@pytest.mark.parametrize(("kind", "value"), KINDS)
def test_each_spelling_of_a_value_has_one_stand_in(kind, value):
    expected = stand_in(kind, SPELLINGS[kind][0])
    assert re.fullmatch(rf"\[{kind} [A-Z]{{4}}-[A-Z]{{4}}\]", expected)
    assert stand_in(kind, value) == expected


@pytest.mark.parametrize(("kind", "value"), KINDS)
def test_a_spelling_in_a_text_has_the_same_stand_in(kind, value):
    if kind == "phone":
        value = f"phone: {value}"
    assert found_in(mask(f"It is {value} today")) == [stand_in(kind, SPELLINGS[kind][0])]


def test_other_values_and_other_kinds_have_other_stand_ins():
    values = [
        *("jane@example.com", "jane@example.org", "jan@example.com", "jane+a@example.com"),
        *("r&d@example.com", "s&d@example.com", "jane_doe@example.com", "jane.doe@example.com"),
    ]
    assert len({stand_in("e-mail", value) for value in values}) == len(values)
    numbers = ["4111111111111111", "4111111111111112", "411111111111111"]
    kinds = ("phone", "card")
    assert len({stand_in(kind, number) for kind in kinds for number in numbers}) == 6
    assert stand_in("phone", "+372 5123 4567") != stand_in("phone", "+372 5123 4568")


def test_stand_ins_depend_on_the_key_that_never_changes(settings):
    jane = stand_in("e-mail", "jane@example.com")
    settings.SECRET_KEY = "another"
    assert stand_in("e-mail", "jane@example.com") == jane
    settings.AUDIT_KEY = "l" * 50
    assert stand_in("e-mail", "jane@example.com") != jane
    # Without AUDIT_KEY, SECRET_KEY is used, as for the audit trail.
    settings.AUDIT_KEY = ""
    without = stand_in("e-mail", "jane@example.com")
    settings.SECRET_KEY = "yet another"
    assert len({jane, without, stand_in("e-mail", "jane@example.com")}) == 3


def test_among_10_000_people_two_are_hardly_ever_alike():
    # By the birthday bound.
    assert 10_000 * 9_999 / 2 / len(stand_ins.LETTERS) ** stand_ins.LENGTH < 1 / 100
    made = {stand_in("phone", f"+3725{number:07}") for number in range(10_000)}
    assert len(made) == 10_000
    # Each letter occurs at each position.
    for place in zip(*(each[7:-1].replace("-", "") for each in made), strict=True):
        assert set(place) == set(stand_ins.LETTERS)


def test_letters_form_neither_numbers_nor_words():
    assert set(stand_ins.LETTERS).isdisjoint("0123456789AEIOUY")
    assert len(set(stand_ins.LETTERS)) == len(stand_ins.LETTERS)


def test_an_incomplete_value_shows_only_its_kind():
    assert mask("no such user …@example.com") == "no such user [e-mail]"
    assert mask("no such user jane.…@example.com") == "no such user [e-mail]"


def test_long_values_are_not_cached():
    stand_ins.made_of.cache_clear()
    stand_in("phone", "+" + "1" * 200)
    assert stand_ins.made_of.cache_info().currsize == 0
    for _ in range(2):
        stand_in("phone", "+3725123456")
    assert stand_ins.made_of.cache_info().hits == 1
    assert stand_ins.made_of.cache_info().maxsize


# Nothing is masked twice


@pytest.mark.parametrize("seed", range(4))
def test_masking_a_masked_text_changes_nothing(seed):
    chance = random.Random(seed)
    for _ in range(500):
        whole = text_of(chance)
        masked = mask(whole)
        assert mask(masked) == masked, whole
        # Nor does cutting leave part of a stand-in.
        assert found_in(mask(f"x {masked} x", cut_start=True, cut_end=True)) == found_in(masked)


@pytest.mark.parametrize("around", ["{}", "phone {}", "{} 12", "tel: {}, 5", '["{}"]', "{}{}"])
def test_a_stand_in_is_never_masked(around):
    for number in range(1_000):
        for kind in SPELLINGS:
            made = stand_in(kind, str(number))
            for each in (made, short(made)):
                text = around.format(each, each)
                assert mask(text) == text


def test_a_stand_in_says_nothing_about_the_next_number():
    # It contains the word "phone", and its letters may look like those of another word.
    for kind in SPELLINGS:
        for number in range(300):
            made = stand_in(kind, str(number))
            for each in (made, short(made)):
                text = f"{each}, 12345678"
                assert mask(text) == text
                assert mask(f"mail {each[2:]} {text}", cut_start=True).endswith(f" {text}")
    for key in (mask("+372 5123 4567"), short(mask("+372 5123 4567"))):
        document = json.dumps({key: 12345678})
        assert mask_json(document) == document
    # Words around an address still count.
    assert len(found_in(mask("phone of jane@example.com: 12345678"))) == 2


@pytest.mark.parametrize("seed", range(4))
def test_json_stays_json_and_is_not_masked_twice(seed):
    chance = random.Random(seed)
    for _ in range(200):
        document = {
            text_of(chance, 1): [text_of(chance), 4111111111111111, None],
            "phone": 37251234567,
            "inner": json.dumps({"text": text_of(chance), "phones": ["51234567"]}),
        }
        for is_ascii in (True, False):
            masked = mask_json(json.dumps(document, ensure_ascii=is_ascii))
            read = json.loads(masked)
            json.loads(read["inner"])
            assert read["phone"] == stand_in("phone", "+372 5123 4567")
            assert mask_json(masked) == masked


WHOLE = (
    "Please write to jane.doe@example.com or call +372 5123 4567, card 4111 1111 1111 1111, "
    "account EE38 2200 2210 2014 5685 at once."
)


@pytest.mark.parametrize("place", range(1, len(WHOLE)))
def test_parts_of_a_value_have_no_stand_in(place):
    whole = set(found_in(mask(WHOLE)))
    assert len(whole) == 4
    assert set(found_in(mask(WHOLE[:place], cut_end=True))) <= whole
    assert set(found_in(mask(WHOLE[place:], cut_start=True))) <= whole
    document = json.dumps({"text": WHOLE, "n": 4111111111111111})
    assert set(found_in(mask_json(document[:place], cut_end=True))) <= whole


# On pages and in files

JANE, JOHN = "jane.doe@planted.example", "john@planted.example"
PHONE, CARD, IBAN = "+372 5987 6543", "4539 5787 6362 1486", "EE47 1000 0010 2014 5685"


@pytest.fixture
def masked(settings, db):
    with masking_on(settings):
        yield


def conversation_of(agent, address: str):
    session = make_session(agent, external_id=address)
    words = f"I am {address}, {PHONE}, {CARD}, {IBAN}"
    document = {"me": address.upper(), "phone": 37259876543, "card": int(CARD.replace(" ", ""))}
    run = make_run(session, input_data=Json(document))
    make_message(session, "user", words, run_id=run.id)
    make_message(session, "assistant", f"Noted: **{address}**, `{PHONE}`", run_id=run.id)
    error = f"Error: no account for {address}"
    inputs = {"inputs": Json(document), "prompt": words}
    make_task(run, session, "look-up", "tool_call", output=Json({"result": error}), **inputs)
    return session, run


@pytest.mark.django_db
def test_a_person_has_one_stand_in_on_all_pages_and_in_all_files(masked, support_client):
    agent = make_agent("Shop")
    expected = {stand_in("phone", PHONE), stand_in("card", CARD), stand_in("IBAN", IBAN)}
    people = {each: stand_in("e-mail", each) for each in (JANE, JOHN)}
    assert len({*people.values()}) == 2
    made = {address: conversation_of(agent, address) for address in people}
    build_indexes()
    for address, (session, run) in made.items():
        here = f"/conversations/{session.id}/"
        whole = {people[address], *expected}
        task = Task.objects.get(session_id=session.id)
        for path, shown in {
            f"{here}transcript.txt": whole,
            f"{here}transcript.md": whole,
            f"{here}conversation.json": whole,
            f"{here}runs/{run.id}/input_data/raw/": whole - {stand_in("IBAN", IBAN)},
        }.items():
            answer = body(support_client.get(path))
            assert shown <= set(found_in(answer)) <= whole, path
        for path, shown in {
            here: whole,
            f"{here}print/": whole,
            f"{here}runs/{run.id}/": {people[address]},
            f"{here}runs/{run.id}/input_data/": whole - {stand_in("IBAN", IBAN)},
            f"{here}tasks/{task.id}/": whole,
        }.items():
            for headers in ({}, HTMX):
                page = Page(body(support_client.get(path, headers=headers)))
                assert {*map(short, shown)} <= page.shown <= {*map(short, whole)}, path
                assert page.kept <= whole, path
        page = support_client.get(here).content.decode()
        assert re.search(rf"<title>\s*{re.escape(short(people[address]))}", page)
        assert f'<h1 dir="auto" tabindex="-1">{short(people[address])}</h1>' in page
    both = {*map(short, people.values())}
    for headers in ({}, HTMX):
        query = {"search": "noted"}
        listed = support_client.get("/conversations/", query, headers=headers).content.decode()
        assert both <= Page(listed).shown <= both | {*map(short, expected)}
        errors = support_client.get("/conversations/errors/", headers=headers).content.decode()
        assert Page(errors).shown == both
    for form in ("csv", "jsonl", "xlsx"):
        for name, query in (("conversations", {}), ("messages", {}), ("tasks", {"payloads": "1"})):
            for row in rows(support_client, f"{name}.{form}", **query):
                ids = (row.get("session_id"), row.get("id"))
                [address] = [who for who, (each, _) in made.items() if str(each.id) in ids]
                found = set(found_in(str(row)))
                assert {people[address]} <= found <= {people[address], *expected}, (name, form)


@pytest.mark.django_db
def test_chips_and_forms_keep_the_typed_text(masked, support_client):
    session, _ = conversation_of(make_agent("Shop"), JANE)
    query = urlencode({"external_id": JANE})
    page = support_client.get(f"/conversations/?{query}").content.decode()
    assert f'value="{JANE}"' in page
    assert f'<b dir="auto">{JANE}</b>' in page
    assert f'id="row-{session.id}"' in page
    assert f'<span class="key" dir="auto">{short(stand_in("e-mail", JANE))}</span>' in page


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["error", "search", "external_id", "external_id_is"])
def test_typed_values_are_not_shown_as_stand_ins(masked, support_client, name):
    """Otherwise, whoever sees a stand-in could try all numbers until one gives the same."""
    for path in ("", "counts/"):
        query = urlencode({name: f"look-up: {JANE} has no account here"})
        page = unescape(support_client.get(f"/conversations/{path}?{query}").content.decode())
        assert found_in(page) == []


# Searching for a stand-in

SENTENCE = "so a search can’t find them"


@pytest.mark.django_db
@pytest.mark.parametrize("form", ["{}", "  {} ", "refund {}", "BARE", "bare", "joined", "open"])
@pytest.mark.parametrize("shown", [str, short])
@pytest.mark.parametrize("name", ["search", "external_id"])
def test_a_search_for_a_stand_in_explains_why_nothing_is_found(
    masked, support_client, form, shown, name
):
    conversation_of(make_agent("Shop"), JANE)
    masked_as = shown(stand_in("e-mail", JANE))
    letters = masked_as[len("[e-mail ") : -1]
    bare = letters if shown is str else f"e-mail {letters}"
    special = {"BARE": bare, "bare": bare.lower(), "open": masked_as[:-1]}
    special["joined"] = f"[e-mail {letters.replace('-', '')}]"
    typed = special.get(form) or form.format(masked_as)
    response = support_client.get("/conversations/", {name: typed})
    assert (response.context["rows"], response.context["offers"]) == ([], [])
    assert SENTENCE in response.content.decode()


@pytest.mark.django_db
def test_other_searches_have_no_such_explanation(masked, support_client):
    make_message(make_session(), content="refund")
    words = ("refund", "nothing", "[phone]", "e-mail", JANE, "HTTP-WORLD", "ab-HTTP-WRLD-x")
    for typed in (*words, "HTTP", "phone HTTPS", "phone html page"):
        page = support_client.get("/conversations/", {"search": typed}).content.decode()
        assert SENTENCE not in page
    assert not is_asked_for("")
