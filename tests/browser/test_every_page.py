"""Rules for every page: no console errors, no barriers, no overflow, a visible focus."""

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
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.figures import roll_up
from ..support.listing import timed_out
from ..support.workflows import ALL_TYPES
from .flaws import SIZES, flaws

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

NOBODY = "00000000-0000-0000-0000-000000000000"
STATUSES = {"missing page": 404, "list that took too long": 503}


@pytest.fixture
def address():
    """{kind of page: address}, most of them for a conversation that has a bit of everything."""
    takes = Json({"properties": {"question": {"type": "string"}}})
    shop = make_agent("Shop", description="Sells", workflow=Json(ALL_TYPES), input_schema=takes)
    session = make_session(shop, external_id="ticket-7")
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
    long = make_session()
    for number in range(90):
        make_message(long, content=f"Message {number}", run_id=make_run(long).id)
    make_model_call(session, run, response_code=429, response_data=Json(values))
    make_model_call(session, run, prompt_tokens=1_200, completion_tokens=4, duration_seconds=2)
    make_model_call()
    here = f"/conversations/{session.id}/"
    return {
        "home": "/",
        "home without figures": "/",
        "part of home": "/home/charts/?period=today",
        "agents": "/agents/",
        "agents without figures": "/agents/",
        "agent": f"/agents/{session.agent_id}/",
        "slow and failing": "/slow/?period=7d",
        "slow and failing without figures": "/slow/",
        "model calls": "/model-calls/",
        "filtered model calls": "/model-calls/?status=429&start_date=2025-01-01&tz=Asia/Tokyo",
        "invalid model calls": "/model-calls/?status=odd&run=x&typo=1",
        "totals of model calls": "/model-calls/totals/",
        "monitor": "/monitor/",
        "list": "/conversations/",
        "list with export menu": "/conversations/",
        "errors": "/conversations/errors/",
        "filtered list": "/conversations/?search=message&start_date=2025-01-01&problem=any"
        "&active_from=2025-01-01&tz=Asia/Tokyo",
        "empty list": "/conversations/?search=nowhere",
        "list of a search in errors too": "/conversations/?search=e+of+the&scope=all&evals=hidden",
        "list of a search for an id": "/conversations/?search=ticket-8",
        "list cut short by time": "/conversations/?search=message",
        "empty list cut short by time": "/conversations/?search=nowhere",
        "list that took too long": "/conversations/?search=message&problem=any",
        "list with new arrivals": "/conversations/?search=Another",
        "invalid filter": "/conversations/?start_date=someday&agent=x&typo=1",
        "conversation": here,
        "empty conversation": f"/conversations/{make_session().id}/",
        "print": f"{here}print/",
        "long conversation": f"/conversations/{long.id}/",
        "runs": f"{here}runs/",
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
    "home",
    "home without figures",
    "part of home",
    "agents",
    "agents without figures",
    "agent",
    "slow and failing",
    "slow and failing without figures",
    "model calls",
    "filtered model calls",
    "invalid model calls",
    "totals of model calls",
    "monitor",
    "list",
    "list with export menu",
    "filtered list",
    "empty list",
    "list of a search in errors too",
    "list of a search for an id",
    "list cut short by time",
    "empty list cut short by time",
    "list that took too long",
    "list with new arrivals",
    "invalid filter",
    "conversation",
    "empty conversation",
    "print",
    "long conversation",
    "runs",
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


# {kind of page: an element that must be on it}
SHOWN = {
    "home": ".tiles",
    "home without figures": ".reached",
    "part of home": ".chart .piece",
    "agents": ".figures-table td a",
    "agents without figures": ".agent-names a",
    "agent": ".workflow .shape",
    "slow and failing": ".figures-table tfoot",
    "slow and failing without figures": ".reached",
    "model calls": "#totals b",
    "monitor": ".marks .failed",
    "filtered list": ".snippets mark",
    "list of a search in errors too": ".snippets mark",
    "list of a search for an id": ".snippets .label:text('External id')",
    "list cut short by time": ".rows + .reached",
    "empty list cut short by time": ".reached",
    "list that took too long": "#results .notice",
    "list with new arrivals": ".new a",
    "list with export menu": ".export a",
}


def out_of_time_after_the_first(find):
    """find() as if time had run out after the first conversation."""

    def found(*args):
        places, _ = find(*args)
        return places[:1], places[0] if places else views.Cursor(timezone.now(), uuid.uuid4())

    return found


@pytest.fixture
def opened(new_context, session_cookie, address, monkeypatch):
    """Opens a page of this kind, unfolds everything on it and waits until all of it is loaded."""

    def open_page(kind):
        if kind.endswith("cut short by time"):
            monkeypatch.setattr(views, "find", out_of_time_after_the_first(views.find))
        if kind == "list that took too long":
            monkeypatch.setattr(views, "find", timed_out)
        if kind in ("home", "part of home", "agents", "agent", "slow and failing"):
            roll_up()
        context, watch = new_context(None if kind == "sign-in" else session_cookie)
        page = context.new_page()
        page.goto(address[kind])
        expect(page.locator(".to-come")).to_have_count(0)
        if kind in STATUSES:
            watch.expect_status(STATUSES[kind])
        expect(page.locator("#counts[hx-get]")).to_have_count(0)
        if kind == "list with new arrivals":
            make_message(make_session(make_agent("Late")), content="Another one")
            page.evaluate("document.dispatchEvent(new Event('refresh'))")
        if kind == "list with export menu":
            page.locator(".export summary").press("Enter")
        if kind in SHOWN:
            expect(page.locator(SHOWN[kind]).first).to_be_visible()
        page.evaluate(UNFOLD, "details.behind")
        for folded in (
            "details.work",
            ".places > details",
            ".payloads > details, .step-list li > details",
        ):
            page.evaluate(UNFOLD, folded)
            page.wait_for_function(LOADED, arg=folded)
        return page

    return open_page


@pytest.mark.parametrize("kind", PAGES)
def test_no_barrier_and_no_overflow_in_light_and_dark_wide_and_narrow(opened, kind):
    assert flaws(opened(kind), kind.replace(" ", "-")) == []


# The focused element, whether its focus is visible, and whether it is on the screen.
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
        "home",
        "agents",
        "agent",
        "slow and failing",
        "model calls",
        "monitor",
        "filtered list",
        "list with export menu",
        "list of a search for an id",
        "list with new arrivals",
        "conversation",
        "runs",
        "run",
        "payload",
        "help",
        "help with tables",
        "sign-in",
    ],
)
def test_the_keyboard_reaches_everything_with_a_visible_focus(opened, kind):
    page = opened(kind)
    page.evaluate("document.querySelector('.skip').focus()")
    unmarked, unseen, visited = [], [], 0
    for _ in range(1_000):
        focused = page.evaluate(FOCUSED)
        page.keyboard.press("Tab")
        if focused is None:
            break
        # Tab stops several times in a date field, and the browser itself marks these stops.
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


def test_every_status_in_a_row_is_one_line_high(opened):
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
