"""What the page for redacting suggests: personal data, and forms that resemble the words."""

import json
import re
import time

import pytest
from django.contrib.auth.models import Group, Permission
from django.urls import reverse

from audit.models import Act, Entry, Text
from conversations.changes import offers
from conversations.changes.near import Near
from conversations.changes.offers import Offers
from conversations.models import ChatMessage, Session
from privacy import personal_data

from ..support.factories import Json, make_message, make_run, make_session
from ..support.masking import masking_on
from ..support.redacting import redact
from ..support.tables import everything

pytestmark = pytest.mark.django_db

EMAIL, PHONE = "jane@example.com", "+372 5123 4567"
CARD, IBAN = "4111 1111 1111 1111", "EE38 2200 2210 2014 5685"


def told(text):
    """The beginnings of personal data in a text: not in ids and fractions of a second."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\.\d{6}", "", text.lower())
    return [each for each in ("jane", "5123", "2200", "4111") if each in text]


def near(words, *texts):
    found = Near(words)
    for text in texts:
        found.look(text)
    return {form.text: form.times for form in found.forms()}


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        ("Tamm", "Tamm, Tamme ja tammega; Tammsaare", {"Tamme": 1, "tammega": 1}),
        ("Tamm", "Metsatamm tam Tamn 1Tamme", {}),
        (
            "Mari Tamm",
            "Mari Tamm; Mari said; Tamm, Mari; Mari Tamme; Tamme. mari-tamm MariTamm",
            {
                "Mari": 1,
                "Tamm, Mari": 1,
                "Mari Tamme": 1,
                "Tamme": 1,
                "mari-tamm": 1,
                "MariTamm": 1,
            },
        ),
        ("Mari Tamm", r"Mari, \u0022Tamm\u0022", {"Mari": 1, "Tamm": 1}),
        ("Jüri Müür", "Juri Muur and Juri", {"Juri Muur": 1, "Juri": 1}),
        ("Jõgeva", "Jogeva jogeva JOGEVALE", {"Jogeva": 2, "JOGEVALE": 1}),
        ("Jogeva", r"J\u00f5geva", {"Jõgeva": 1}),
        (
            "Kristjan",
            "Kristian Kirstjan Kristjann Kristja Krestian",
            {"Kristian": 1, "Kirstjan": 1, "Kristjann": 1, "Kristja": 1},
        ),
        ("mari.tamm@example.com", "Mari; example; com", {"Mari": 1}),
        (
            PHONE,
            "51234567, 5123_4567; 00372 51234567; 151234567",
            {"51234567": 1, "5123_4567": 1, "00372 51234567": 1},
        ),
        ("51234567", "+372 51234567 5123_4567 5123", {"+372 51234567": 1, "5123_4567": 1}),
        (IBAN, "EE38_2200_2210_2014_5685 EE38:2200", {"EE38_2200_2210_2014_5685": 1}),
        ("It was on the table near the door", "table door tables", {}),
        ("one\ntwo three", "one two threes", {"one two threes": 1}),
        ("Redacter", "[redacted]", {}),
    ],
)
def test_which_forms_are_similar(words, text, expected):
    assert near(words, text) == expected


@pytest.mark.slow
def test_similar_forms_are_limited_in_number_and_time():
    names = " ".join(
        f"Tamm{a}{b}{c}" for a in "abcdefghijklm" for b in "abcdefghijklm" for c in "abcdefghijklmn"
    )
    found = Near("Tamm")
    found.look(names)
    assert len(found.forms()) == 2_000
    assert found.is_cut
    for words in ("Tamm", PHONE, IBAN, "Mari Tamm"):
        for piece in ("Tamme ja ", "5 1 2 3 ", "+372 ", "EE38 2200 ", "Mari ", "__", "\\u00e4"):
            began = time.process_time()
            near(words, piece * (300_000 // len(piece)))
            assert time.process_time() - began < 10, (words, piece)


def found(text):
    return list(personal_data.found(text))


def test_personal_data_is_found_as_masking_finds_it():
    text = f"Write to {EMAIL} or {PHONE}; {CARD}, {IBAN}. Order 1234-5, 2026-01-01."
    expected = [("e-mail", EMAIL), ("phone", PHONE), ("card", CARD), ("IBAN", IBAN)]
    assert found(text) == expected
    inner = json.dumps({"phone": 37251234567, "said": json.dumps([text])})
    assert found(inner) == [("phone", "37251234567"), *expected]
    assert found("Nothing of it: 37251234567") == []
    assert found("Call 5123 4567 / 5123 4568") == [("phone", "5123 4567"), ("phone", "5123 4568")]


@pytest.fixture
def session():
    session = make_session(external_id=EMAIL)
    make_message(session, content=f"I am {EMAIL}, IBAN {IBAN}. Call {PHONE}, says Mari Tamm.")
    plain = IBAN.replace(" ", "").lower()
    make_run(
        session,
        input_data=Json({"iban": f"is {IBAN.replace(' ', '')}", "card": 4111111111111111}),
        output_data=Json({"said": f"Jane%40example.com; {plain}; Tamme, Mari"}),
    )
    return session


def address(session):
    message = ChatMessage.objects.filter(session_id=session.id).earliest("created_at")
    return reverse("conversations:redact", args=[session.id, message.pk])


def boxes(page):
    """{label: (name, value, is checked)} for the page's checkboxes."""
    found = re.findall(
        r'<label><input type="checkbox" name="(\w+)"(?: value="([^"]*)")?( checked)?>(.*?)</label>',
        page,
    )
    text = re.compile(r"<[^>]*>|\s+")
    return {
        " ".join(text.sub(" ", label).split()): (name, value, bool(checked))
        for name, value, checked, label in found
    }


def test_the_page_offers_what_masking_finds(admin_client, session):
    page = admin_client.get(address(session)).content.decode()
    assert list(boxes(page)) == [
        f"E-mail address {EMAIL} 3 times",
        f"IBAN {IBAN} 3 times",
        f"Phone number {PHONE} 1 time",
        "Card number 4111111111111111 1 time",
        "All of them",
    ]


def test_one_click_removes_an_offer_in_every_spelling(admin_client, session):
    path, before = address(session), everything()
    name, token, _ = boxes(admin_client.get(path).content.decode())[f"IBAN {IBAN} 3 times"]
    assert "22002210" not in token
    page = admin_client.post(path, {"words": "", name: token, "preview": ""}).content.decode()
    assert boxes(page)[f"IBAN {IBAN} 3 times"][2]
    assert everything() == before
    response = redact(admin_client, path, {"words": "", name: token}, follow=True)
    assert "Redacted in 3 places." in response.content.decode()
    texts = "\n".join(everything().values())
    assert "2200" not in told(texts)
    assert "Mari Tamm" in texts
    assert "5123 4567" in texts


def test_all_offers_can_be_removed_at_once(admin_client, session):
    redact(admin_client, address(session), {"words": "", "all_offers": "on"})
    texts = "\n".join(everything().values())
    assert told(texts) == []
    assert "Mari Tamm" in texts
    assert Session.objects.get().external_id == "[redacted]"


def test_one_click_removes_a_similar_form(admin_client, session):
    path = address(session)
    page = admin_client.post(path, {"words": "Mari Tamm", "preview": ""}).content.decode()
    label = "Tamme, Mari 1 time"
    assert boxes(page)["Mari 1 time"][:2] == ("near", "Mari")
    chosen = [box[1] for box in boxes(page).values() if box[0] == "near"]
    assert label not in boxes(page)
    data = {"words": "Mari Tamm", "near": chosen, "preview": ""}
    page = admin_client.post(path, data).content.decode()
    assert [box[2] for box in boxes(page).values() if box[0] == "near"] == [True] * len(chosen)
    redact(admin_client, path, data)
    texts = "\n".join(everything().values())
    assert "Tamm" not in texts
    assert "Mari" not in texts


@pytest.mark.parametrize(
    "data",
    [
        {"offer": "0" * 20},
        {"near": ["x"]},
        {"near": ["y" * 2_000]},
        {"near": [f"zz{number}" for number in range(600)]},
        {"near": [" "]},
    ],
)
def test_choices_that_were_not_offered_are_refused(admin_client, session, data):
    before = everything()
    data |= {"words": "Mari", "confirmation": "redact", "confirm": ""}
    response = admin_client.post(address(session), data)
    assert response.status_code == 200
    page = response.content.decode()
    assert "hoose from the list" in page
    assert 'name="confirm"' not in page
    assert everything() == before


def test_the_page_says_that_a_conversation_is_too_long_to_search(
    admin_client, session, monkeypatch
):
    limit = "This conversation is too long to search"
    assert limit not in admin_client.get(address(session)).content.decode()
    monkeypatch.setattr(offers, "LOOKED_AT", 20)
    page = admin_client.get(address(session)).content.decode()
    assert limit in page
    assert "Card number" not in page


def test_the_page_counts_offers_that_it_does_not_list(admin_client):
    session = make_session()
    make_message(session, content=" ".join(f"a{number}@example.com" for number in range(35)))
    page = admin_client.get(address(session)).content.decode()
    assert len(boxes(page)) == 31
    assert "All of them, including 5 not listed here" in boxes(page)


# Users who do not see personal data


@pytest.fixture
def masked_client(support_client, settings):
    permission = Permission.objects.get(codename="redact_session")
    Group.objects.get(name="Support").permissions.add(permission)
    with masking_on(settings):
        yield support_client


def test_offers_reveal_no_personal_data(masked_client, session):
    path = address(session)
    page = masked_client.get(path).content.decode()
    assert told(page) == []
    assert list(boxes(page))[:2] == ["E-mail address 1 3 times", "IBAN 2 3 times"]
    # Guesses reveal nothing either.
    for words in ("51234567", "jane", "5123 4568"):
        page = masked_client.post(path, {"words": words, "preview": ""}).content.decode()
        assert "Not found in this conversation." in page
        assert not [box for box in boxes(page).values() if box[0] == "near"]


def test_personal_data_can_be_removed_without_being_seen(masked_client, session):
    path = address(session)
    name, token, _ = boxes(masked_client.get(path).content.decode())["IBAN 2 3 times"]
    page = masked_client.post(path, {name: token, "preview": ""}).content.decode()
    assert told(page) == []
    assert 'name="confirm"' in page
    redact(masked_client, path, {name: token})
    texts = "\n".join(everything().values())
    assert "2200" not in told(texts)
    assert EMAIL in texts


def test_a_whole_message_with_masked_words_can_be_removed(masked_client, session):
    page = masked_client.post(address(session), {"words": "", "preview": ""}).content.decode()
    assert told(page) == []
    assert 'name="confirm"' in page


# The audit trail


def test_the_audit_trail_cannot_read_redacted_words(admin_client, session):
    admin_client.get(f"/conversations/?external_id={EMAIL}")
    assert Text.objects.filter(value=EMAIL).exists()
    redact(admin_client, address(session), {"words": EMAIL})
    assert not Text.objects.filter(value__icontains="jane").exists()
    entries = json.dumps([str(entry.details) for entry in Entry.objects.all()])
    assert "jane" not in entries.lower()
    entry = Entry.objects.get(act=Act.REDACTED)
    assert entry.details == {
        "characters": len(EMAIL),
        "external id": 1,
        "messages": 1,
        "runs": 1,
        "tasks": 0,
        "model calls": 0,
    }


def test_another_conversations_external_id_stays_readable(admin_client, session):
    make_session(external_id=EMAIL)
    admin_client.get(f"/conversations/?external_id={EMAIL}")
    redact(admin_client, address(session), {"words": EMAIL})
    assert Text.objects.filter(value=EMAIL).exists()


def test_tokens_are_valid_for_one_conversation(session):
    def token(session_id):
        found = Offers(session_id)
        found.look(EMAIL)
        return found.all()[0].token

    assert token(session.id) == token(session.id) != token(make_session().id)
