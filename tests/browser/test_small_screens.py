"""On a telephone, filters and facts leave room for content, and numbers stay with their nouns."""

import pytest
from playwright.sync_api import expect

from ..support.factories import (
    Json,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from .steps import field, open_dates, open_list, said, talk, wait_for_query

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
FOLDED = [
    *("Search in", "Agent", "Customer got"),
    *("Created from", "Created until", "Active from", "Active until"),
]
PHONE = {"width": 390, "height": 844}


@pytest.fixture(params=[True, False], ids=["JavaScript", "no JavaScript"])
def phone(request, new_context, session_cookie):
    context, _ = new_context(session_cookie, java_script_enabled=request.param, viewport=PHONE)
    return context.new_page()


@pytest.fixture
def narrow(new_context, session_cookie):
    """Opens a page of this width."""

    def opened(width):
        viewport = {"width": width, "height": 844}
        return new_context(session_cookie, viewport=viewport)[0].new_page()

    return opened


def button(page):
    return page.locator("#filters .folded > summary")


def test_all_filters_but_the_search_fold_into_one_button(phone):
    talk("hello")
    phone.goto("/conversations/")
    for label in FOLDED:
        expect(field(phone, label)).to_be_hidden()
    expect(field(phone, "Search")).to_be_visible()
    expect(button(phone)).to_have_text("Filters")
    button(phone).click()
    for label in FOLDED:
        expect(field(phone, label)).to_be_visible()


def test_the_first_row_is_in_the_upper_half_of_the_screen(phone):
    agent = make_agent("Shop")
    talk("hello", agent, external_id="eval:1")
    for query in ("", f"?agent={agent.id}&external_id=eval&outcome=&start_date=2020-01-01"):
        phone.goto(f"/conversations/{query}")
        who = phone.locator(".row .who").bounding_box()
        assert who["y"] + who["height"] < PHONE["height"] / 2, query


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("search=hello", 0),
        ("scope=all", 0),
        ("search=hello&scope=all", 1),
        ("external_id=a", 0),
        ("start_date=2020-01-01", 1),
        ("active_from=2020-01-01&active_until=2040-01-01&outcome=answered", 3),
    ],
)
def test_the_button_says_how_many_filters_are_set(phone, query, number):
    phone.goto(f"/conversations/?{query}")
    expect(button(phone)).to_have_text(f"Filters {number} set" if number else "Filters")
    expect(field(phone, "Agent")).to_be_hidden()


@pytest.mark.parametrize("query", ["agent=x", "active_from=long+ago", "outcome=luck"])
def test_filters_are_unfolded_if_one_is_invalid(phone, query):
    phone.goto(f"/conversations/?{query}")
    for label in FOLDED:
        expect(field(phone, label)).to_be_visible()
    expect(phone.locator("#filters .error")).to_be_visible()


def test_filters_stay_unfolded_while_the_user_types_in_one(narrow):
    page = narrow(390)
    talk("hello")
    open_list(page)
    button(page).click()
    field(page, "Created from").fill("2001-01-01")
    wait_for_query(page, start_date="2001-01-01", tz="UTC")
    expect(said(page)).to_have_text(["hello"])
    expect(button(page)).to_have_text("Filters 1 set")
    field(page, "Created from").fill("")
    wait_for_query(page)
    expect(field(page, "Created from")).to_be_focused()


def test_filters_can_be_reached_by_keyboard(narrow):
    page = narrow(390)
    open_list(page)
    field(page, "Search").focus()
    page.keyboard.press("Tab")
    expect(button(page)).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(field(page, "Search in")).to_be_focused()


@pytest.mark.parametrize("width", [720, 900, 1440])
def test_wide_screens_only_fold_the_dates(narrow, width):
    page = narrow(width)
    open_list(page)
    expect(button(page)).to_be_hidden()
    for label in FOLDED[3:]:
        expect(field(page, label)).to_be_hidden()
    open_dates(page)
    for label in FOLDED:
        expect(field(page, label)).to_be_visible()
    field(page, "Search").focus()
    page.keyboard.press("Tab")
    expect(field(page, "Search in")).to_be_focused()


@pytest.mark.parametrize("width", [320, 390, 700, 1440])
@pytest.mark.parametrize("name", ["Shop", "An agent with a long name " * 6, "X" * 90])
@pytest.mark.parametrize("external_id", ["ben.okafor@example.com", "ticket-3654"])
def test_external_ids_are_visible_beside_long_agent_names(narrow, width, name, external_id):
    talk("hello " * 60, make_agent(name), external_id=external_id)
    page = narrow(width)
    open_list(page)
    key = page.locator(".row .key")
    expect(key).to_have_text(external_id)
    shown, whole = key.evaluate("key => [key.clientWidth, key.scrollWidth]")
    assert shown == whole > 50
    row, box = page.locator(".row").bounding_box(), key.bounding_box()
    assert row["x"] < box["x"]
    assert box["x"] + box["width"] <= row["x"] + row["width"]
    agent = page.locator(".row .who b").bounding_box()
    assert agent["width"] > 20
    time = page.locator(".row .when > time").bounding_box()
    assert agent["x"] + agent["width"] <= time["x"]
    assert box["y"] + 1 >= time["y"] + time["height"] or box["x"] + box["width"] <= time["x"]


@pytest.mark.parametrize("width", [320, 390])
@pytest.mark.parametrize(
    "query", ["", "?search=hello", f"?search={'hello' * 30}", "?start_date=2020-01-01&agent=x"]
)
def test_nothing_is_wider_than_the_screen(narrow, width, query):
    session = talk("hello " * 60, make_agent("X" * 90), external_id="y" * 90)
    make_run(session, output_data=None)
    make_model_call(session, response_code=500)
    page = narrow(width)
    open_list(page, query)
    expect(page.locator("#counts .as-of, .error").first).to_be_visible()
    button(page).click()
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [320, 360, 390, 420])
def test_counts_take_at_most_two_lines_and_numbers_stay_with_their_nouns(narrow, width):
    agent = make_agent()
    for tokens in (7, 70_000, 70_000_000, 2_000_000_000):
        session = make_session(agent)
        for _ in range(13):
            make_task(make_run(session), session)
            make_message(session)
        make_model_call(session, total_tokens=tokens, prompt_tokens=tokens, completion_tokens=0)
    page = narrow(width)
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
        assert len(lines) <= 2
        assert {min(places) for places in lines.values()} == {row.bounding_box()["x"]}


# A conversation


@pytest.fixture
def failed():
    """A conversation whose second run failed after a tool call, with very long names."""
    agent = make_agent("The front desk of a shop with a rather long name")
    session = make_session(agent, external_id="a-rather-long-name.of-somebody@mail.example.com")
    first = make_run(session)
    make_message(session, "user", "Where is it?", run_id=first.id)
    make_message(session, "assistant", "On its way.", run_id=first.id)
    session.run = make_run(session, output_data=None, duration_seconds="1234.5")
    make_message(session, "user", "And now?", run_id=session.run.id)
    make_task(session.run, session, "n" * 80, "agent", seq=0, duration_seconds="1000")
    for number in range(1, 4):
        make_task(
            session.run,
            session,
            "a_tool_with_a_long_name",
            "tool_call",
            seq=number,
            parent_task_name="n" * 80,
            inputs=Json({"args": {"reference": "r" * 70}}),
            output=Json({"result": "Booked for the first of December"}),
            duration_seconds="100.5",
        )
    make_model_call(
        session, session.run, response_code=429, response_data=Json("rate limit"), total_tokens=7000
    )
    return session


@pytest.fixture(params=[True, False], ids=["JavaScript", "no JavaScript"])
def telephone(request, new_context, session_cookie):
    """A touch screen, without the hint for keyboards."""
    options = {"viewport": PHONE, "has_touch": True, "java_script_enabled": request.param}
    context, _ = new_context(session_cookie, **options)
    return context.new_page()


def test_the_first_message_is_in_the_upper_half_of_the_screen(telephone, failed):
    page = telephone
    page.goto(f"/conversations/{failed.id}/")
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator(".got")).to_be_visible()
    assert page.locator(".message").first.bounding_box()["y"] < PHONE["height"] / 2
    expect(page.get_by_text("Session id")).to_be_hidden()
    expect(page.locator(".done-before li").first).to_be_hidden()
    page.locator(".facts .fold > summary", has_text="The front desk").click()
    expect(page.get_by_text("Session id")).to_be_visible()
    expect(page.get_by_role("link", name="Download JSON")).to_be_visible()
    page.locator("summary", has_text="What had been done before it failed").click()
    expect(page.locator(".done-before li").first).to_be_visible()


def test_wide_screens_fold_nothing_of_a_conversation(page, failed):
    page.set_viewport_size({"width": 720, "height": 900})
    page.goto(f"/conversations/{failed.id}/")
    for shown in ("Session id", "Download JSON"):
        expect(page.get_by_text(shown)).to_be_visible()
    expect(page.locator(".got-what li")).to_have_count(3)
    for each in page.locator(".got-what li, .got-what h2").all():
        expect(each).to_be_visible()
    expect(page.locator(".fold > summary").filter(visible=True)).to_have_count(0)


@pytest.mark.parametrize("width", [320, 390])
def test_an_opened_run_fits_and_its_bars_are_on_one_scale(page, failed, width):
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"/conversations/{failed.id}/")
    page.locator(f"#run-{failed.run.id} .work > summary").click()
    bars = page.locator(".step-list .lasted")
    expect(bars).to_have_count(5)
    page.locator(".step-list li details > summary").nth(1).click()
    expect(page.locator(".task")).to_be_visible()
    for summary in page.locator(".fold > summary").filter(visible=True).all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    scale = page.locator(".step-list .scale").bounding_box()
    for bar in bars.all():
        box = bar.bounding_box()
        places = (box["x"], box["width"])
        assert places == pytest.approx((scale["x"], scale["width"]), abs=0.5)
        assert box["width"] > width / 2


@pytest.mark.parametrize("width", [320, 360, 390, 420, 1440])
def test_numbers_in_a_conversation_stay_with_their_nouns(page, failed, width):
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"/conversations/{failed.id}/")
    for summary in page.locator(".facts .fold > summary").filter(visible=True).all():
        summary.click()
    # Each number with the word after it, as in "20 min 34 s".
    parted = page.locator(".work .numbers, .facts dd, .facts .fold > summary").evaluate_all(
        """(all) => all.flatMap((one) => {
          const found = [];
          const numbers = /[\\d,.]+\\s+(?!of|model calls,)[a-z]+/g;
          const walker = document.createTreeWalker(one, NodeFilter.SHOW_TEXT);
          while (walker.nextNode()) {
            const text = walker.currentNode;
            for (const { 0: words, index } of text.data.matchAll(numbers)) {
              const range = document.createRange();
              range.setStart(text, index);
              range.setEnd(text, index + words.length);
              const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
              if (lines.size > 1) found.push(words);
            }
          }
          return found;
        })"""
    )
    assert parted == []
    expect(page.locator(f"#run-{failed.run.id} .numbers").first).to_contain_text("20 min 34 s")
