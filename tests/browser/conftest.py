"""One Chromium for all browser tests, and contexts that record errors which no user may see."""

import os
import shutil
import threading
from urllib.parse import urlsplit

import pytest
from django.db import connections
from playwright.sync_api import expect, sync_playwright

from ..support.factories import make_agent
from .steps import session_in, talk

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
)
REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
"""
# Long, because a busy machine may be slow.
TIMEOUT = 60_000


@pytest.fixture(scope="package")
def browser(django_db_setup):
    """
    Closes after the last browser test, not at the end of all tests: while Playwright's event loop
    runs in this thread, Django takes the thread for asynchronous and opens connections just for it.
    """
    # The headless shell: the full Chromium takes a second of processor time for each window.
    path = os.environ.get("BROWSER_PATH") or shutil.which("chromium-headless-shell")
    path = path or shutil.which("chromium")
    if not path:
        pytest.fail(
            "No browser: install chromium-headless-shell, or name an executable in BROWSER_PATH.",
            pytrace=False,
        )
    expect.set_options(timeout=TIMEOUT)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()
        connections.close_all()


class Gate:
    """
    A page's automatic requests may still be pending when its test ends. So before the tables are
    emptied, the gate refuses new requests and waits for those that are being answered.
    """

    def __init__(self, application):
        self.application = application
        self.inside = 0
        self.is_open = False
        self.changed = threading.Condition()

    def __call__(self, environ, start_response):
        with self.changed:
            if not self.is_open:
                start_response("503 Service Unavailable", [("Connection", "close")])
                return
            self.inside += 1
        response = None
        try:
            response = self.application(environ, start_response)
            yield from response
        finally:
            if hasattr(response, "close"):
                response.close()
            with self.changed:
                self.inside -= 1
                self.changed.notify_all()

    def open(self):
        with self.changed:
            self.is_open = True

    def close(self):
        with self.changed:
            self.is_open = False
            assert self.changed.wait_for(lambda: not self.inside, timeout=30), "still answering"


@pytest.fixture(scope="package")
def gate(live_server):
    server = live_server.thread.httpd
    gate = Gate(server.get_app())
    server.set_app(gate)
    yield gate
    server.set_app(gate.application)


@pytest.fixture(autouse=True)
def _rows(browser, gate, transactional_db):
    """Requests are only answered while this test's rows exist."""
    gate.open()
    yield
    gate.close()


class Watch:
    """Records what the pages of a context logged, opened and requested."""

    def __init__(self, context, origin):
        self.origin = origin
        self.complaints = []
        self.requests = []
        self.dialogs = []
        context.on("console", self.on_console)
        context.on("weberror", lambda error: self.complaints.append(f"error: {error.error}"))
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("dialog", self.on_dialog)

    def on_console(self, message):
        self.complaints.append(f"{message.type}: {message.text}")

    def on_dialog(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def expect_status(self, status: int):
        """Ignore what the browser logged about this status. It must have logged something."""
        logged = f"the server responded with a status of {status} "
        assert any(logged in complaint for complaint in self.complaints), self.complaints
        self.complaints = [one for one in self.complaints if logged not in one]

    def paths(self) -> list[str]:
        """Requested paths with their queries."""
        parts = [urlsplit(url) for url in self.requests]
        return [f"{part.path}?{part.query}" if part.query else part.path for part in parts]

    def foreign(self) -> list[str]:
        return [url for url in self.requests if not url.startswith(f"{self.origin}/")]

    def assert_quiet(self):
        assert self.foreign() == []
        assert self.dialogs == []
        assert self.complaints == []


@pytest.fixture
def session_cookie(live_server, _rows):
    """The cookie of a signed-in user of the group Support."""
    return session_in("Support", live_server)


@pytest.fixture
def new_context(browser, live_server, _rows):
    """Makes contexts, and checks in the end that none of them recorded an error."""
    contexts = []

    def make(cookie=None, **options):
        options.setdefault("viewport", {"width": 1440, "height": 900})
        context = browser.new_context(base_url=live_server.url, **options)
        context.set_default_timeout(TIMEOUT)
        context.add_init_script(REPORT_VIOLATIONS)
        if cookie:
            context.add_cookies([cookie])
        watch = Watch(context, live_server.url)
        contexts.append((context, watch))
        return context, watch

    yield make
    for context, _ in contexts:
        context.close()
    for _, watch in contexts:
        watch.assert_quiet()


@pytest.fixture
def context_and_watch(new_context, session_cookie):
    return new_context(session_cookie)


@pytest.fixture
def context(context_and_watch):
    return context_and_watch[0]


@pytest.fixture
def watch(context_and_watch):
    return context_and_watch[1]


@pytest.fixture
def page(context):
    """A page, signed in as Support."""
    return context.new_page()


@pytest.fixture(params=[True, False], ids=["JavaScript", "no JavaScript"])
def any_page(request, new_context, session_cookie):
    """A page, once with and once without JavaScript."""
    context, _ = new_context(session_cookie, java_script_enabled=request.param)
    return context.new_page()


@pytest.fixture
def talks():
    """Three conversations that "ref", "refu" and "refund" tell apart. Two have the same agent."""
    shop, bank = make_agent("Shop"), make_agent("Bank")
    talk("reference number", bank, external_id="b-1")
    talk("refuse to pay", bank, external_id="b-2")
    talk("refund please", shop, external_id="s-1")
    return {"Shop": shop, "Bank": bank}


@pytest.fixture
def page_without_javascript(new_context, session_cookie):
    context, _ = new_context(session_cookie, java_script_enabled=False)
    return context.new_page()
