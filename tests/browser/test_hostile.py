"""
Everything that strangers wrote is shown as text.

The Content Security Policy is off in these tests: nothing that it blocks may be on a page at all.
"""

import json
import re
from unicodedata import normalize
from urllib.parse import quote, urlencode, urlsplit

import pytest
from django.utils.text import Truncator
from playwright.sync_api import expect

from conversations.detail.steps import NAME_LENGTH
from conversations.detail.transcript import FOLD, ITEMS_PER_PAGE, transcript
from conversations.display.without_markdown import without_markdown
from conversations.querysets import PREVIEW_LENGTH
from conversations.summaries import preview

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
from ..support.payloads import HANDWRITTEN, PAYLOADS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

# Payloads short enough for the form, and texts that PostgreSQL cannot store but a URL can carry.
TYPED = [text for text in PAYLOADS if len(text) <= 200] + ["\0", "a\0b", "\r\nHX-Redirect: /xss"]

# This many payloads fit on a page of a list, conversation or run, each in several fields.
AT_ONCE = 55
PARTS = [PAYLOADS[start : start + AT_ONCE] for start in range(0, len(PAYLOADS), AT_ONCE)]

# Elements and attributes that none of our templates write. Links in messages may lead elsewhere if
# they have the safe attributes.
INTRUDERS = r"""() => {
  const ours = (value, base) => new URL(value, base).origin === location.origin
    && !new URL(value, base).pathname.includes("xss");
  const safe = ".text a[target=_blank][rel~=noopener][rel~=noreferrer]";
  const found = [];
  for (const element of document.querySelectorAll("*")) {
    const tag = element.tagName.toLowerCase();
    const say = (what) => found.push(`${tag} ${what}: ${element.outerHTML.slice(0, 120)}`);
    if (/^(iframe|object|embed|base|style|img|math|template|animate|textarea)$/.test(tag)) say("");
    if (tag === "script" && !(element.src && new URL(element.src).pathname.startsWith("/static/")
        && element.parentElement === document.head)) say("script");
    if (tag === "meta" && element.httpEquiv) say("http-equiv");
    for (const { name, value } of element.attributes) {
      if (element.matches(".text *, .reason *")
          && !/^(href|title|target|rel|class|start|dir)$/.test(name)) say(name);
      if (/^on/i.test(name) || name === "style" || name === "srcdoc") say(name);
      if (/^(data-)?hx-on/i.test(name) || /^data-hx/i.test(name)) say(name);
      if (/^hx-(get|post|put|patch|delete|push-url|replace-url)$/i.test(name)
          && !(ours(value, location.href) && value.startsWith("/conversations/"))) say(name);
      if (/^(href|src|action|formaction|xlink:href)$/i.test(name)
          && !ours(value, location.href)
          && !(element.matches(safe) && /^(https?:[/][/]|mailto:|tel:)/i.test(value))) say(name);
    }
  }
  return found;
}"""
PATHS = re.compile(
    r"/static/[a-z./0-9-]+|/conversations/((counts|new|rows)/)?"
    r"|/conversations/[0-9a-f-]{36}/((runs|tasks|messages|model-calls)/[0-9a-f-]{36}/"
    r"((inputs|output|errors|input_data|output_data|context|request_data|response_data)/)?)?"
)


@pytest.fixture
def bare(new_context, session_cookie):
    """A page without the policy, and the Watch of its context."""
    context, watch = new_context(session_cookie, bypass_csp=True)
    return context.new_page(), watch


@pytest.fixture
def narrow(new_context, session_cookie):
    """The same on a screen too narrow for the list beside a conversation, which is quicker."""
    viewport = {"width": 1000, "height": 800}
    context, watch = new_context(session_cookie, bypass_csp=True, viewport=viewport)
    return context.new_page(), watch


def assert_harmless(page, watch):
    assert page.evaluate(INTRUDERS) == []
    assert page.evaluate("window.__xss") is None
    assert watch.dialogs == []
    assert watch.foreign() == []
    paths = {urlsplit(url).path for url in watch.requests}
    assert {path for path in paths if not PATHS.fullmatch(path)} == set()
    assert page.locator("header.bar").count() == 1


def pairs(items):
    """Pairs of items, since a page shows two at once. Each item is in one of the pairs."""
    return [*zip(items[::2], items[1::2], strict=False), (items[-1], items[0])]


def texts(locator):
    return locator.evaluate_all("(all) => all.map((one) => one.textContent)")


@pytest.fixture
def everywhere():
    """Conversations with the payloads in every text and JSON field that a page shows."""
    return [conversation_of(part) for part in PARTS]


def conversation_of(part):
    session = make_session(make_agent(part[0]), external_id=part[1])
    everything = {text: text for text in part}
    run = make_run(
        session,
        input_data=Json(everything),
        output_data=Json([[text] for text in part]),
        context=Json({"deep": everything}),
    )
    for text in part:
        make_message(session, text, text, run_id=run.id)
    for seq, text in enumerate(part):
        make_task(
            run,
            session,
            text,
            text,
            seq=seq,
            prompt=text,
            parent_task_name=text if seq % 2 else f"{text} ",
            tool_uri=text,
            inputs=Json({text: text}),
            output=Json({"result": text}),
            errors=Json([text, {text: [text]}]),
        )
        make_model_call(
            session,
            run,
            model=text,
            call_type=text,
            request_data=Json({text: text}),
            response_data=Json(json.dumps([text])),
        )
    session.run = run
    session.texts = part
    return session


def is_name(shown, text):
    """Whether this is the name as shown: normalised, and cut if it is long."""
    text = normalize("NFC", text)
    return shown == text or (shown.endswith("…") and text.startswith(shown[:-1]))


def assert_names(shown, of):
    shown = [normalize("NFC", one) for one in shown]
    assert len(shown) == len(of)
    assert [text for text in of if not any(is_name(one, text) for one in shown)] == []


def assert_named_in(sentences, names):
    """Checks names in sentences, where they are on one line and cut if they are long."""
    text = normalize("NFC", " ".join(" ".join(sentences).split()))
    lines = [" ".join(name.split())[:NAME_LENGTH] for name in names]
    assert [line for line in lines if normalize("NFC", line) not in text] == []


def is_json(text):
    return text == '{"__proto__": {"x": 1}}'


def test_there_are_enough_payloads():
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 200


def test_the_policy_is_off_in_these_tests(bare):
    page, _ = bare
    page.goto("/conversations/")
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
        }"""
    )
    assert page.evaluate("window.ran") is True


def test_foreign_elements_and_attributes_are_recognised(bare):
    page, _ = bare
    page.goto("/conversations/")
    assert page.evaluate(INTRUDERS) == []
    for markup in (
        "<img>",
        "<p onclick=x>",
        "<p style='color: red'>",
        '<p hx-get="https://evil.example/">',
        '<p data-hx-get="/conversations/">',
        '<a href="javascript:alert(1)">',
        '<a href="//evil.example/">',
        "<iframe></iframe>",
        '<p class="text"><b hx-vals="x">',
        '<p class="text"><b id="browse">',
        '<p class="text markdown"><a href="https://evil.example/">',
        '<p class="text markdown"><a target="_blank" rel="noopener noreferrer" href="tel://x">'
        '<a target="_blank" rel="noopener noreferrer" href="javascript:alert(1)">',
    ):
        page.evaluate("(markup) => document.querySelector('main').innerHTML = markup", markup)
        assert page.evaluate(INTRUDERS) != []


def test_names_and_messages_in_the_list(bare):
    page, watch = bare
    for text in PAYLOADS:
        session = make_session(make_agent(text), external_id=text)
        make_message(session, text, text)
        make_message(session, text, f"{text} ")
    page.goto("/conversations/")
    assert sorted(texts(page.locator("#id_agent option"))[1:]) == sorted(PAYLOADS)
    left = PAYLOADS[::-1]
    while left:
        shown, left = left[:50], left[50:]
        expect(page.locator(".row .who b").first).to_have_text(shown[0], use_inner_text=False)
        assert texts(page.locator(".row .who b")) == shown
        assert texts(page.locator(".row .key")) == shown
        said = texts(page.locator(".row .said > span:first-child"))
        assert said == [preview(text[:PREVIEW_LENGTH]) for text in shown]
        assert_harmless(page, watch)
        if left:
            page.get_by_role("link", name="Older").click()


def test_problems_and_snippets_in_the_list(bare):
    page, watch = bare
    for text in PAYLOADS:
        session = make_session()
        make_message(session)
        make_message(session, text, f"needle {text}")
        make_message(session)
        output = Json({"result": f"Error: needle {text}"})
        make_task(make_run(session), session, text, "tool_call", output=output)
    page.goto("/conversations/?search=needle&scope=all")
    left = PAYLOADS[::-1]
    while left:
        shown, left = left[:50], left[50:]
        names = page.locator(".snippets .label")
        expect(page.locator(".row .newest-problem").first).to_contain_text(shown[0][:20])
        labels = zip(texts(names)[::2], shown, strict=True)
        assert [text for label, text in labels if not is_name(normalize("NFC", label), text)] == []
        found = texts(page.locator(".snippets [dir=auto]"))
        said = [without_markdown(f"needle {text}") for text in shown]
        for excerpts in (found[::2], found[1::2]):
            # Near the end of an excerpt, the cut may have left signs of Markdown.
            both = zip(map(beginning, excerpts), map(beginning, said), strict=True)
            assert [whole for part, whole in both if not part.startswith(whole[:50])] == []
        failed = [
            one.partition(": needle")[2] for one in texts(page.locator(".row .newest-problem"))
        ]
        # Control characters separate the codes of an error from its sentence, and sentences in JSON
        # lose their quotes.
        as_told = [text.translate({1: " ", 2: None, 3: None}) for text in shown]
        assert [beginning(unquoted(one)) for one in failed] == [
            beginning(unquoted(one)) for one in as_told
        ]
        assert page.locator(".snippets mark").count() >= 2 * len(shown)
        assert_harmless(page, watch)
        if left:
            page.get_by_role("link", name="Older").click()


def unquoted(text):
    return re.sub("[\"']", "", text)


def beginning(text):
    """The beginning of a text that may be cut, with single spaces."""
    return " ".join(text.split())[:80]


def test_a_search_term_is_marked_as_text_in_the_list(narrow):
    page, watch = narrow
    terms = [text for text in TYPED if text in PAYLOADS and len(text.strip()) > 1][::9]
    for text in terms:
        session = make_session()
        for content in ("Hello", f"before {text} behind", "Bye"):
            make_message(session, content=content)
    for text in terms:
        query = urlencode({"search": text})
        page.goto(f"/conversations/?{query}", wait_until="domcontentloaded")
        assert page.locator(".snippets a").count() > 0
        assert page.evaluate(INTRUDERS) == []
    assert_harmless(page, watch)


def test_an_external_id_is_found_as_text(bare):
    page, watch = bare
    page.goto("/conversations/")
    # The field has only one line.
    typed = [text for text in TYPED if text in PAYLOADS and text.splitlines() == [text]]
    for text in typed[: 6 * 18 : 18]:
        for name in (text, "Bank"):
            make_session(make_agent(name), external_id=text.strip())
        page.locator("#id_search").fill(text)
        shown = page.locator(".snippets li", has_text="External id").locator("[dir]")
        expect(shown.first).to_have_text(text.strip(), use_inner_text=False)
        expect(page.locator(".row .key").first).to_have_text(text.strip(), use_inner_text=False)
        assert_harmless(page, watch)


def test_names_on_their_own_conversation_page(narrow):
    page, watch = narrow
    made = []
    for name, key in pairs(PAYLOADS)[::8]:
        made.append((name, key, make_session(make_agent(name), external_id=key)))
        make_session(make_agent(f"{key} "), external_id=key)
    for name, key, session in made:
        page.goto(f"/conversations/{session.id}/", wait_until="domcontentloaded")
        assert page.locator("h1").text_content() == key
        assert is_name(normalize("NFC", page.locator("dd").first.text_content()), name)
        assert page.locator("dd code").first.text_content() == key
        title = page.locator("title").text_content().removesuffix(" · Conversation Desk")
        assert title.count(" · ") == 1
        shown = [normalize("NFC", part).strip() for part in title.split(" · ")]
        assert is_name(shown[0], key.strip())
        assert is_name(shown[1], name.strip())
        assert page.locator(".same-person h2 bdi").text_content() == key
        assert f"{key} " in texts(page.locator(".same-person li bdi"))
        assert page.evaluate(INTRUDERS) == []
    assert_harmless(page, watch)


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_messages_formatted_and_as_source(bare, role):
    page, watch = bare
    session = make_session()
    for text in PAYLOADS:
        make_message(session, role, text)
    for start in range(0, len(PAYLOADS), ITEMS_PER_PAGE):
        shown = PAYLOADS[start : start + ITEMS_PER_PAGE]
        page.goto(f"/conversations/{session.id}/?from={start}&source")
        sources = page.locator(".transcript").first.locator(".message > .text.source")
        assert texts(sources) == [text[:FOLD] for text in shown]
        assert_harmless(page, watch)
        page.goto(f"/conversations/{session.id}/?from={start}")
        kind = "markdown" if role == "assistant" else "source"
        formatted = page.locator(".transcript").first.locator(f".message > .text.{kind}")
        as_text = [text for text in shown if role == "user" or not is_json(text)]
        assert formatted.count() == len(as_text)
        if role != "assistant":
            assert texts(formatted) == [text[:FOLD] for text in as_text]
        assert_harmless(page, watch)


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_a_long_message_opened_in_place_and_on_its_own_page(bare, role):
    page, watch = bare
    long = ["\n\n".join(PAYLOADS[start : start + 40]) for start in range(0, len(PAYLOADS), 40)]
    long = [text.ljust(FOLD + 1, ".") for text in long]
    session = make_session()
    made = [make_message(session, role, text) for text in long]
    for query in ("", "?source"):
        page.goto(f"/conversations/{session.id}/{query}")
        page.evaluate("document.querySelectorAll('.rest').forEach((rest) => (rest.open = true))")
        whole = page.locator(".rest .whole .text")
        expect(whole).to_have_count(len(long))
        if query or role != "assistant":
            assert texts(whole) == long
        else:
            assert whole.locator("a[href^='https://evil.example/']").count() >= 10
        assert_harmless(page, watch)
        for message, text in zip(made, long, strict=True):
            page.goto(f"/conversations/{session.id}/messages/{message.id}/{query}")
            if query or role != "assistant":
                assert page.locator(".whole .text").text_content() == text
            assert_harmless(page, watch)


def test_a_search_term_is_marked_as_text(narrow):
    page, watch = narrow
    session = make_session()
    for text in (text for text in TYPED if text in PAYLOADS):
        make_message(session, "user", text)
    for text in TYPED[::16]:
        query = urlencode({"search": text})
        page.goto(f"/conversations/{session.id}/?{query}", wait_until="domcontentloaded")
        assert page.locator(".message").count() > 0
        assert page.evaluate(INTRUDERS) == []
    assert_harmless(page, watch)


def test_reasons_of_failed_runs(narrow):
    page, watch = narrow
    session = make_session()
    failed = {"output_data": NULL, "duration_seconds": 1.0}
    for text in PAYLOADS[:ITEMS_PER_PAGE]:
        run = make_run(session, **failed)
        make_model_call(session, run, model=text, response_code=500, response_data=Json(text))
        make_task(run, session, text, errors=Json({text: text}))
        make_task(run, session, text, "tool_call", output=Json({"result": f"Error: {text}"}))
    page.goto(f"/conversations/{session.id}/")
    # Other tests check which words of an error are its sentence.
    reasons = [reason for entry in transcript(session.id).entries for reason in entry.reasons]
    assert len(reasons) >= 2 * ITEMS_PER_PAGE
    assert texts(page.locator(".outcome .reason")) == reasons
    assert_harmless(page, watch)


def test_messages_and_tasks_of_a_conversation(bare, everywhere):
    page, watch = bare
    for conversation in everywhere:
        part = conversation.texts
        page.goto(f"/conversations/{conversation.id}/")
        assert texts(page.locator(".message header bdi")) == part
        said = texts(page.locator(".message > .text.source"))
        # Messages of all roles except assistant are shown as typed.
        assert said == [text[:FOLD] for text in part]
        assert_harmless(page, watch)

        page.locator("details.work > summary").click()
        tasks = page.locator(".step-list li > details")
        expect(tasks).to_have_count(len(part))
        assert_named_in(texts(tasks.locator("> summary .told")), part)
        calls = page.locator(".model-calls > ol > li")
        names = [Truncator(text).chars(100) for text in part]
        assert texts(calls.locator("> p > b")) == names
        assert texts(calls.locator("> p > .kind:first-of-type")) == names
        assert_harmless(page, watch)

        page.evaluate(
            """document
              .querySelectorAll("li > details, .payloads > details, .model-calls details")
              .forEach((one) => (one.open = true))"""
        )
        expect(page.locator(".task")).to_have_count(len(part))
        expect(page.locator(".payloads .json")).to_have_count(3)
        expect(calls.locator(".json")).to_have_count(2 * len(part))
        assert sorted(texts(page.locator(".task .prompt"))) == sorted(part)
        assert sorted(texts(page.locator(".task dl code"))) == sorted(part)
        strings = texts(page.locator(".task .json .string"))
        names = texts(page.locator(".payloads .json .name"))
        called = texts(calls.locator(".json .string"))
        for text in part:
            cut = text[:4000]
            assert strings.count(cut) >= 4, text
            assert names.count(cut) >= 2, text
            assert called.count(cut) >= 2, text
        assert_harmless(page, watch)


def test_tasks_and_payloads_on_pages_of_their_own(narrow, everywhere):
    page, watch = narrow
    for conversation in everywhere:
        run = f"/conversations/{conversation.id}/runs/{conversation.run.id}/"
        page.goto(run)
        tasks = page.locator(".step-list li > details")
        links = tasks.locator("> .body a").evaluate_all("(all) => all.map((one) => one.pathname)")
        assert len(links) == len(conversation.texts)
        seen = []
        for link in links[::27]:
            page.goto(link)
            seen.append(page.locator("h1").text_content())
            assert page.evaluate(INTRUDERS) == []
        assert set(seen) <= set(conversation.texts)
        for field in ("input_data", "output_data", "context"):
            page.goto(f"{run}{field}/")
            strings = texts(page.locator(".json .string"))
            assert sorted(strings) == sorted(text[:4000] for text in conversation.texts)
            assert page.evaluate(INTRUDERS) == []
    assert_harmless(page, watch)


def test_the_raw_payload_and_the_transcript_are_text(bare, everywhere):
    page, watch = bare
    for conversation in everywhere:
        here = f"/conversations/{conversation.id}"
        for path in (f"runs/{conversation.run.id}/input_data/raw/", "transcript.txt"):
            response = page.goto(f"{here}/{path}")
            assert response.headers["content-type"] == "text/plain; charset=utf-8"
            assert response.headers["x-content-type-options"] == "nosniff"
            assert page.locator("script, img, svg, iframe").count() == 0
            assert page.evaluate("window.__xss") is None
    assert watch.dialogs == []


def test_text_in_the_filters(narrow):
    page, watch = narrow
    for pair in pairs(TYPED[::5]):
        values = dict(zip(("search", "external_id"), pair, strict=True))
        page.goto("/conversations/?" + urlencode(values), wait_until="domcontentloaded")
        for field, text in values.items():
            shown = page.locator(f"#id_{field}").input_value()
            # The search field has one line. Hidden fields keep line breaks, as line feeds.
            by, lines = ("", "[\r\n]") if field == "search" else ("\n", "\r\n?")
            assert shown == re.sub(lines, by, text.replace("\0", "\ufffd"))
        assert page.evaluate(INTRUDERS) == []
    assert_harmless(page, watch)


def test_invalid_values_in_the_filters(narrow):
    page, watch = narrow
    names = ("search", "external_id", "agent", "problem", "start_date", "end_date")
    for start in range(0, len(TYPED), len(names) + 1):
        *some, last = TYPED[start : start + len(names) + 1]
        values = {**dict(zip(names, [*some, *TYPED], strict=False)), last: last}
        page.goto("/conversations/?" + urlencode(values), wait_until="domcontentloaded")
        assert page.locator(".field .error").count() >= 3
        # One for the filter by problem, which has no visible field, and one for the unknown filter.
        alerts = texts(page.locator("#filters > .error"))
        assert len(alerts) == 2
        assert alerts[0].startswith("Problem: Select a valid choice. ")
        assert alerts[1].startswith("There is no filter called “")
        assert page.locator(".row").count() == 0
        assert page.evaluate(INTRUDERS) == []
    assert_harmless(page, watch)


def test_a_search_sent_by_htmx_is_shown_as_text(bare):
    page, watch = bare
    make_message(make_session(), content="Hello")
    page.goto("/conversations/")
    search = page.locator("#id_search")
    for text in (HANDWRITTEN[place] for place in (0, 4, 25, 28, 32)):
        search.fill(text)
        expect(page.locator(".chip b")).to_have_text(Truncator(text).chars(60))
        assert_harmless(page, watch)


def test_malformed_cursors(bare):
    page, watch = bare
    for text in TYPED[::10]:
        assert page.goto(f"/conversations/?after=x{quote(text)}").status == 400
        assert page.evaluate(INTRUDERS) == []
    watch.expect_status(400)
    assert_harmless(page, watch)


@pytest.mark.parametrize("unfolded", [False, True])
def test_no_payload_overflows_a_narrow_screen(new_context, session_cookie, everywhere, unfolded):
    """The policy is on here, so this also proves that no payload makes the browser log an error."""
    context, _ = new_context(session_cookie, viewport={"width": 390, "height": 844})
    page = context.new_page()
    pages = (
        [f"/conversations/{conversation.id}/" for conversation in everywhere]
        if unfolded
        else [
            "/conversations/",
            f"/conversations/?search={'x' * 200}&external_id={'y' * 200}",
            f"/conversations/?agent={'x' * 300}&{'y' * 300}=1",
            *(f"/conversations/{conversation.id}/" for conversation in everywhere),
        ]
    )
    for path in pages:
        page.goto(path)
        if unfolded:
            page.locator("details.work > summary").click()
            tasks = page.locator(".step-list li > details")
            expect(tasks.first).to_be_visible()
            tasks.evaluate_all("(all) => all.forEach((one) => (one.open = true))")
            expect(page.locator(".task")).to_have_count(tasks.count())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
