"""What must hold on every page: no complaint, no barrier, no overflow, a visible focus."""

import uuid

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from conversations.listing import views

from ..support.factories import (
    NULL,
    Json,
    make_agent,
    make_message,
    make_run,
    make_session,
    make_task,
)
from ..support.listing import timed_out
from .flaws import SIZES, flaws

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

NOBODY = "00000000-0000-0000-0000-000000000000"
STATUSES = {"missing page": 404, "list that took too long": 503}


@pytest.fixture
def address():
    """Addresses of the kinds of pages, of a conversation with something of everything."""
    session = make_session(make_agent("Shop"), external_id="ticket-7")
    values = {"text": "Tere", "number": 1.5, "nothing": None, "list": [True, {"deep": ["x"]}]}
    run = make_run(session, input_data=Json(values))
    for role in ("user", "assistant", "system"):
        make_message(session, role, f"A message of the {role}. " * 5, run_id=run.id)
    make_message(session, content="A long message. " * 300)
    make_message(session, content="")
    task = make_task(run, session, "answer", "agent", seq=0, prompt="Be kind.", inputs=Json(values))
    make_task(
        run,
        session,
        "look-up",
        "tool_call",
        seq=1,
        parent_task_name="answer",
        tool_uri="python://shop/look_up",
        output=Json({"result": "Error: gone"}),
        errors=Json(["boom"]),
    )
    make_run(session, output_data=NULL)
    make_run(session, output_data=NULL, duration_seconds=None)
    make_message(make_session(make_agent("Bank")), content="Another")
    make_session(make_agent(""))
    for name in ("Shop", "Bank"):
        make_session(make_agent(name), external_id="ticket-8")
    make_session(make_agent("Quiz"), external_id="eval:1")
    here = f"/conversations/{session.id}/"
    return {
        "list": "/conversations/",
        "list with files": "/conversations/",
        "errors": "/conversations/errors/",
        "filtered list": "/conversations/?search=message&start_date=2025-01-01&problem=any"
        "&active_from=2025-01-01&tz=Asia/Tokyo",
        "empty list": "/conversations/?search=nowhere",
        "list of a search everywhere": "/conversations/?search=e+of+the&scope=all&evals=hidden",
        "list of what an id names": "/conversations/?search=ticket-8",
        "list that ends where time did": "/conversations/?search=message",
        "empty list that ends where time did": "/conversations/?search=nowhere",
        "list that took too long": "/conversations/?search=message&problem=any",
        "list with new ones": "/conversations/?search=Another",
        "invalid filter": "/conversations/?start_date=yesterday&agent=x&typo=1",
        "conversation": here,
        "conversation without anything": f"/conversations/{make_session().id}/",
        "print": f"{here}print/",
        "run": f"{here}runs/{run.id}/",
        "task": f"{here}tasks/{task.id}/",
        "payload": f"{here}runs/{run.id}/input_data/",
        "help": "/help/",
        "help with tables": "/help/operating/",
        "help with wide tables": "/help/benchmarks/",
        "sign-in": "/accounts/login/",
        "missing page": f"/conversations/{NOBODY}/",
    }


PAGES = (
    "list",
    "list with files",
    "filtered list",
    "empty list",
    "list of a search everywhere",
    "list of what an id names",
    "list that ends where time did",
    "empty list that ends where time did",
    "list that took too long",
    "list with new ones",
    "invalid filter",
    "conversation",
    "conversation without anything",
    "print",
    "run",
    "task",
    "payload",
    "help",
    "help with tables",
    "help with wide tables",
    "sign-in",
    "missing page",
)


UNFOLD = "(folded) => document.querySelectorAll(folded).forEach((one) => (one.open = true))"
LOADED = """(folded) => [...document.querySelectorAll(folded)].every(
  (one) => !one.querySelector(":scope > .body > p:only-child > a"))"""


# What else must be on the page of a kind.
SHOWN = {
    "filtered list": ".snippets mark",
    "list of a search everywhere": ".snippets mark",
    "list of what an id names": ".snippets .label:text('External id')",
    "list that ends where time did": ".rows + .reached",
    "empty list that ends where time did": ".reached",
    "list that took too long": "#results .notice",
    "list with new ones": ".new a",
    "list with files": ".export a",
}


def look_back_in_vain(find):
    """find() as if time had run out behind the first."""

    def found(*args):
        places, _ = find(*args)
        return places[:1], places[0] if places else views.Cursor(timezone.now(), uuid.uuid4())

    return found


@pytest.fixture
def opened(new_context, session_cookie, address, monkeypatch):
    """Opens a page of a kind, with all that folds on it unfolded and all that it asks for there."""

    def open_page(kind):
        if kind.endswith("ends where time did"):
            monkeypatch.setattr(views, "find", look_back_in_vain(views.find))
        if kind == "list that took too long":
            monkeypatch.setattr(views, "find", timed_out)
        context, watch = new_context(None if kind == "sign-in" else session_cookie)
        page = context.new_page()
        page.goto(address[kind])
        if kind in STATUSES:
            watch.expect_status(STATUSES[kind])
        expect(page.locator("#counts[hx-get]")).to_have_count(0)
        if kind == "list with new ones":
            make_message(make_session(make_agent("Late")), content="Another one")
            page.evaluate("document.dispatchEvent(new Event('refresh'))")
        if kind == "list with files":
            page.locator(".export summary").press("Enter")
        if kind in SHOWN:
            expect(page.locator(SHOWN[kind]).first).to_be_visible()
        for folded in ("details.work", ".payloads > details, .tasks > li > details"):
            page.evaluate(UNFOLD, folded)
            page.wait_for_function(LOADED, arg=folded)
        return page

    return open_page


@pytest.mark.parametrize("kind", PAGES)
def test_no_barrier_and_no_overflow_in_light_and_dark_wide_and_narrow(opened, kind):
    assert flaws(opened(kind), kind.replace(" ", "-")) == []


# The focused element, whether something marks it, and whether it is on the screen.
FOCUSED = """() => {
  const element = document.activeElement;
  if (element === document.body) return null;
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  const label = element.outerHTML.slice(0, 90);
  const again = "visited" in element.dataset;
  element.dataset.visited = "";
  return {
    label,
    again,
    marked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    shown: box.width > 1 && box.height > 1 && box.bottom > 0 && box.top < innerHeight
      && box.right > 0 && box.left < innerWidth,
  };
}"""


@pytest.mark.parametrize(
    "kind",
    [
        "filtered list",
        "list with files",
        "list of what an id names",
        "list with new ones",
        "conversation",
        "run",
        "payload",
        "help",
        "help with tables",
        "sign-in",
    ],
)
def test_the_keyboard_reaches_everything_and_shows_where_it_is(opened, kind):
    page = opened(kind)
    page.evaluate("document.querySelector('.skip').focus()")
    unmarked, unseen, visited = [], [], 0
    for _ in range(150):
        focused = page.evaluate(FOCUSED)
        page.keyboard.press("Tab")
        if focused is None:
            break
        # A date field is several stops; the browser itself marks those inside it.
        if focused["again"]:
            continue
        visited += 1
        if not focused["marked"]:
            unmarked.append(focused["label"])
        if not focused["shown"]:
            unseen.append(focused["label"])
    assert focused is None
    assert unmarked == []
    assert unseen == []
    focusable = page.locator("a[href], button, input:not([type=hidden]), select, summary").filter(
        visible=True
    )
    assert visited >= focusable.count()


@pytest.mark.parametrize("kind", ["list", "conversation", "sign-in", "missing page"])
def test_the_policy_allows_nothing_unsafe_and_blocks_a_script_in_the_page(
    new_context, session_cookie, address, kind
):
    context, watch = new_context(None if kind == "sign-in" else session_cookie)
    page = context.new_page()
    response = page.goto(address[kind])
    if kind == "missing page":
        watch.expect_status(404)
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert watch.complaints == []
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          try {
            script.textContent = "window.ran = true";
          } catch {
            script.append("window.ran = true");
          }
          document.body.append(script);
          try {
            document.body.insertAdjacentHTML("beforeend", "<img>");
          } catch {}
          document.body.setAttribute("style", "color: red");
        }"""
    )
    page.wait_for_timeout(100)
    assert page.evaluate("window.ran") is None
    assert page.locator("body > img").count() == 0
    assert [one for one in watch.complaints if one.startswith("error: CSP: require-trusted-types")]
    assert [one for one in watch.complaints if one.startswith("error: CSP: style-src-attr")]
    words = ("Content Security Policy", "CSP", "This document requires 'Trusted")
    assert all(any(each in one for each in words) for one in watch.complaints)
    watch.complaints.clear()


def test_a_state_is_one_line_high_whatever_it_is(opened):
    page = opened("list")
    page.set_viewport_size(SIZES[0])
    pills = page.locator(".row .pill")
    assert pills.count() >= 3
    heights = pills.evaluate_all("(all) => all.map((one) => one.offsetHeight)")
    assert max(heights) < 30
    names = page.locator(".row .who").evaluate_all(
        "(all) => all.map((one) => one.firstElementChild.getBoundingClientRect().left)"
    )
    assert len(set(names)) == 1
