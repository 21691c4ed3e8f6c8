"""What readers of the list do, and what they see."""

from urllib.parse import parse_qsl, urlsplit

from ..factories import make_message, make_session

LIST = "/conversations/"


def talk(text, agent=None, **fields):
    session = make_session(agent, **fields)
    make_message(session, content=text)
    return session


def query_of(page) -> dict:
    return dict(parse_qsl(urlsplit(page.url).query, keep_blank_values=True))


def said(page):
    return page.locator(".rows .said")


def field(page, label):
    return page.locator("#filters").get_by_label(label)


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
