"""The list on a telephone: its filters leave room for rows, and numbers keep their nouns."""

import pytest
from playwright.sync_api import expect

from ..support.factories import make_agent, make_model_call, make_run, make_session
from .steps import field, open_list, said, talk, wait_for_query

pytestmark = pytest.mark.django_db(transaction=True)
RARE = ["Customer got", "Created from", "Created until", "Active from", "Active until"]
PHONE = {"width": 390, "height": 844}


@pytest.fixture(params=[True, False], ids=["JavaScript", "no JavaScript"])
def phone(request, new_context, session_cookie):
    context, _ = new_context(session_cookie, java_script_enabled=request.param, viewport=PHONE)
    return context.new_page()


def test_rare_filters_are_folded_away(phone):
    talk("hello")
    phone.goto("/conversations/")
    for label in RARE:
        expect(field(phone, label)).to_be_hidden()
    assert phone.locator("#results").bounding_box()["y"] < PHONE["height"] / 3
    phone.get_by_text("More filters").click()
    for label in RARE:
        expect(field(phone, label)).to_be_visible()


@pytest.mark.parametrize(
    "query",
    [
        "start_date=2020-01-01",
        "end_date=2020-01-01T10:00",
        "active_from=2020-01-01",
        "active_until=2020-01-01",
        "outcome=none",
        "active_from=long+ago",
    ],
)
def test_they_are_there_if_one_is_set(phone, query):
    phone.goto(f"/conversations/?{query}")
    for label in RARE:
        expect(field(phone, label)).to_be_visible()


def test_they_stay_while_somebody_types_in_one(new_context, session_cookie):
    context, _ = new_context(session_cookie, viewport=PHONE)
    page = context.new_page()
    talk("hello")
    open_list(page)
    page.get_by_text("More filters").click()
    field(page, "Created from").fill("2001-01-01")
    wait_for_query(page, start_date="2001-01-01", tz="UTC")
    expect(said(page)).to_have_text(["hello"])
    field(page, "Created from").fill("")
    wait_for_query(page)
    expect(field(page, "Created from")).to_be_focused()


@pytest.mark.parametrize("width", [720, 900, 1440])
def test_where_there_is_room_nothing_is_folded_away(new_context, session_cookie, width):
    context, _ = new_context(session_cookie, viewport={"width": width, "height": 900})
    page = context.new_page()
    open_list(page)
    expect(page.get_by_text("More filters")).to_be_hidden()
    for label in RARE:
        expect(field(page, label)).to_be_visible()


@pytest.mark.parametrize("width", [320, 360, 390, 420])
def test_no_number_parts_from_its_noun_and_no_line_is_indented(new_context, session_cookie, width):
    agent = make_agent()
    for tokens in (7, 70_000, 70_000_000, 2_000_000_000):
        session = make_session(agent)
        for _ in range(13):
            make_run(session)
        make_model_call(session, total_tokens=tokens, prompt_tokens=tokens, completion_tokens=0)
    context, _ = new_context(session_cookie, viewport={"width": width, "height": 844})
    page = context.new_page()
    open_list(page)
    counts = page.locator(".row .counts")
    expect(counts).to_have_count(4)
    expect(counts.filter(has_text="2,000,000,000 tokens")).to_have_count(1)
    for row in counts.all():
        lines = {}
        for each in row.locator("> span").all():
            assert each.evaluate("each => each.getClientRects().length") == 1
            box = each.bounding_box()
            assert box["height"] < 25
            lines.setdefault(round(box["y"]), []).append(box["x"])
        assert len(lines) > 1
        assert {min(places) for places in lines.values()} == {row.bounding_box()["x"]}
