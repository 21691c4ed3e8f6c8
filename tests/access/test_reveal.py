"""Seeing one conversation's personal data for a while, with a reason that is kept."""

import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import DatabaseError
from django.test import Client

from audit.models import Act, Entry
from conversations.access import reveal
from privacy.stand_ins import stand_in

from ..support.factories import Json, make_message, make_run, make_session, make_task
from ..support.masking import EMAIL, PHONE, masking_on
from ..support.pages import body
from ..support.signing_in import let_in, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("masked")]
REASON = "The customer asked us to call back."


@pytest.fixture
def masked(settings, db):
    with masking_on(settings):
        yield


@pytest.fixture
def session():
    made = make_session(external_id=EMAIL)
    run = make_run(made, input_data=Json({"text": EMAIL}))
    make_message(made, content=f"I am {EMAIL}", run_id=run.id)
    make_task(run, made, prompt=EMAIL)
    return made


def page_of(session):
    return f"/conversations/{session.id}/"


def ask(client, session, reason=REASON, query="", **values):
    values = values or {"reason": reason}
    return client.post(f"/conversations/{session.id}/reveal/{query}", values)


def sees(client, session) -> bool:
    return EMAIL in client.get(page_of(session)).content.decode()


def revealings():
    return list(Entry.objects.filter(act=Act.REVEALED).values_list("session_id", "details"))


def test_a_reason_reveals_and_is_kept(support_client, session):
    page = support_client.get(page_of(session)).content.decode()
    assert "Personal data is masked" in page
    assert EMAIL not in page
    response = ask(support_client, session)
    assert (response.status_code, response["Location"]) == (302, page_of(session))
    assert revealings() == [(session.id, {"reason": REASON})]
    page = support_client.get(page_of(session)).content.decode()
    assert EMAIL in page
    assert "Personal data is shown" in page


def test_everything_of_the_conversation_is_shown_and_nothing_else(support_client, session):
    other = make_session(external_id=EMAIL)
    run = session_rows(session, "runs")
    task = session_rows(session, "tasks")
    ask(support_client, session)
    for rest in ("", f"runs/{run}/", f"tasks/{task}/", f"runs/{run}/input_data/",
                 f"runs/{run}/input_data/raw/", "transcript.txt", "conversation.json"):  # fmt: skip
        assert EMAIL in body(support_client.get(page_of(session) + rest)), rest
    assert EMAIL not in support_client.get("/conversations/").content.decode()
    assert not sees(support_client, other)


def session_rows(session, table):
    from conversations.models import Run, Task

    model = {"runs": Run, "tasks": Task}[table]
    return model.objects.get(session_id=session.id).pk


def test_nobody_else_sees_it_then(support_client, session):
    ask(support_client, session)
    client = Client()
    let_in(client, make_user("other"))
    assert not sees(client, session)


def test_it_ends(support_client, session, monkeypatch):
    ask(support_client, session)
    later = time.time() + reveal.REVEALED_FOR.total_seconds()
    monkeypatch.setattr("conversations.access.reveal.time.time", lambda: later - 5)
    assert sees(support_client, session)
    monkeypatch.setattr("conversations.access.reveal.time.time", lambda: later + 5)
    assert not sees(support_client, session)


def test_it_can_be_hidden_again_at_once(support_client, session):
    ask(support_client, session)
    response = ask(support_client, session, hide="1")
    assert response["Location"] == page_of(session)
    assert not sees(support_client, session)
    assert len(revealings()) == 1


def test_it_ends_with_the_permission(support_client, session):
    ask(support_client, session)
    permission = Permission.objects.get(codename="reveal_session")
    Group.objects.get(name="Support").permissions.remove(permission)
    assert not sees(support_client, session)


def test_it_ends_with_signing_out(support_client, session, django_user_model):
    ask(support_client, session)
    support_client.logout()
    let_in(support_client, django_user_model.objects.get(username="support"))
    assert not sees(support_client, session)


@pytest.mark.parametrize("reason", ["", "    ", "abcd", "x" * 501, "a\0bcdef"])
def test_a_reason_that_is_none_is_refused_and_not_lost(support_client, session, reason):
    response = ask(support_client, session, reason)
    assert response.status_code == 400
    page = response.content.decode()
    assert 'role="alert"' in page
    if reason == "abcd":
        assert 'value="abcd"' in page
    assert revealings() == []
    assert not sees(support_client, session)


def test_a_missing_reason_is_refused(support_client, session):
    assert ask(support_client, session, nothing="").status_code == 400


def test_without_an_entry_nothing_is_revealed(support_client, session, monkeypatch):
    def fail(*args, **kwargs):
        raise DatabaseError

    monkeypatch.setattr("conversations.access.reveal.record", fail)
    with pytest.raises(DatabaseError):
        ask(support_client, session)
    monkeypatch.undo()
    assert not sees(support_client, session)


def test_the_reason_is_kept_without_personal_data(support_client, session):
    ask(support_client, session, f"Call {PHONE} back")
    assert revealings() == [(session.id, {"reason": f"Call {stand_in('phone', PHONE)} back"})]


def test_the_way_back_to_the_results_is_kept(support_client, session):
    page = support_client.get(f"{page_of(session)}?search=am&source").content.decode()
    assert f'action="{page_of(session)}reveal/?search=am&amp;source"' in page
    response = ask(support_client, session, query="?search=am&source=")
    assert response["Location"] == f"{page_of(session)}?search=am&source="


def test_who_may_not_reveal_is_told_so(viewer_client, session):
    page = viewer_client.get(page_of(session)).content.decode()
    assert "Your role does not include seeing it" in page
    assert '<form method="post" action="/conversations' not in page
    assert ask(viewer_client, session).status_code == 403
    assert not sees(viewer_client, session)


def test_an_unknown_conversation_is_not_found(support_client, session):
    unknown = type("Row", (), {"id": "12345678-1234-1234-1234-123456789012"})
    assert ask(support_client, unknown).status_code == 404
    assert revealings() == []


def test_signing_in_leads_back_to_the_conversation(support_client, session):
    response = support_client.get(f"{page_of(session)}reveal/?search=a")
    assert response["Location"] == f"{page_of(session)}?search=a"


def test_a_form_of_another_site_reveals_nothing(session):
    client = Client(enforce_csrf_checks=True)
    let_in(client, make_user("careful"))
    assert ask(client, session).status_code == 403
    assert not sees(client, session)


def test_where_nothing_is_masked_nothing_is_revealed(admin_client, session, settings):
    page = admin_client.get(page_of(session)).content.decode()
    assert EMAIL in page
    assert "Personal data is" not in page
    assert ask(admin_client, session).status_code == 302
    settings.MASK_PERSONAL_DATA = False
    assert ask(admin_client, session).status_code == 302
    assert revealings() == []


def test_only_so_many_are_remembered_and_the_oldest_go_first(support_client, monkeypatch):
    monkeypatch.setattr(reveal, "MOST_REVEALED", 2)
    made = [make_session(external_id=EMAIL) for _ in range(3)]
    for each in made:
        ask(support_client, each)
    assert [sees(support_client, each) for each in made] == [False, True, True]


def test_what_has_ended_is_forgotten(support_client, monkeypatch):
    monkeypatch.setattr(reveal, "REVEALED_FOR", timedelta(seconds=-1))
    ask(support_client, make_session())
    monkeypatch.undo()
    ask(support_client, make_session())
    assert len(support_client.session[reveal.KEY]) == 1
