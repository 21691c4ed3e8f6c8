"""Steps that many tests share: what users do in the list, and what they see."""

import re
from urllib.parse import parse_qsl, urlsplit

from ..support.factories import make_message, make_session
from ..support.signing_in import PASSWORD, cookie_of, make_user

LIST = "/conversations/"


def sign_in(page, name, password=PASSWORD):
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def session_in(group, server) -> dict:
    """The session cookie of a new user in this group."""
    name, _, value = cookie_of(make_user(group.lower(), group)).partition("=")
    return {"name": name, "value": value, "url": server.url}


def talk(text, agent=None, **fields):
    session = make_session(agent, **fields)
    make_message(session, content=text)
    return session


def query_of(page) -> dict:
    return dict(parse_qsl(urlsplit(page.url).query, keep_blank_values=True))


def zone_of(page) -> str:
    return page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")


def said(page):
    return page.locator(".rows .said")


def field(page, label):
    # "Search" must be exact, since "Search in" is another field.
    return page.locator("#filters").get_by_label(label, exact=label == "Search")


def open_dates(page):
    """Unfold the fields for dates. Wide screens fold nothing else."""
    page.locator(".dates > summary").click()


def problem_link(page, label):
    """One of the links above the rows. Once it is counted, its text ends with a number."""
    links = page.get_by_role("navigation", name="Problems").get_by_role("link")
    return links.filter(has_text=re.compile(rf"^{label}\b"))


def follow(page, name):
    """Click a link and wait for its page."""
    with page.expect_navigation():
        page.get_by_role("link", name=name).click()


def asked(watch, part):
    """Requested paths that contain this part."""
    return [path for path in watch.paths() if part in path]


def open_list(page, query=""):
    page.goto(LIST + query)
    page.evaluate("window.stayed = true")


def assert_not_reloaded(page):
    assert page.evaluate("window.stayed") is True


def wait_for_query(page, **wanted):
    page.wait_for_function(
        """(wanted) => {
          const query = [...new URLSearchParams(location.search)];
          return JSON.stringify(query.sort()) === JSON.stringify(wanted);
        }""",
        arg=sorted([name, value] for name, value in wanted.items()),
    )
