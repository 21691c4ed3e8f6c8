"""
Whatever is sent to any address, the answer is one of ours. It is never a server error, lacks no
header, never redirects to another site, and never shows more rows than the valid part of the
request selects.

`make hostile` sends a thousand requests to each address.
"""

from contextlib import ExitStack, contextmanager
from urllib.parse import quote_from_bytes

import pytest
from django.db import transaction
from django.http import QueryDict
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from backoffice.wsgi import known_type
from conversations.agentdb.normal_form import normalised
from conversations.selection.filters import ConversationFilter
from conversations.selection.forms import OTHER_PARAMETERS
from conversations.selection.pasted import spellings
from overview.models import Progress

from ..support.addresses import ADDRESSES, PIECE, filled, make_examples, pieces
from ..support.factories import make_message, make_session
from ..support.hostile import (
    FORM,
    METHODS,
    TEXTS,
    VALUES,
    bodies,
    headers,
    leads_elsewhere,
    queries,
)
from ..support.listing import listed
from ..support.pages import missing
from ..support.signing_in import cookie_of, make_user

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

ROLES = ("", "Support", "Admin")
# The admin panel reads these by iterating over all parameters, so they cannot be observed.
PANEL = (
    *("o", "all", "_popup", "_to_field", "_changelist_filters", "_facets", "groups__id__exact"),
    # Django's admin lets an address filter by any column and lookup.
    *("email__regex", "username__iregex", "last_login__year", "password", "is_active__exact"),
    *("id__in", "details__query", "agent__name__regex", "created_at__week_day"),
)
LIST = "/conversations/"
EXPORT = "/conversations/export/conversations.jsonl"
FILTERS = [*ConversationFilter.base_filters, *OTHER_PARAMETERS]
REDIRECTS = ("Location", "HX-Redirect", "HX-Location", "HX-Push-Url", "HX-Replace-Url")


@pytest.fixture
def sessions(db) -> dict[str, str]:
    """{role: the cookie of a signed-in user}; figures are there, as after the first rollup"""
    Progress.objects.create(form="", seen=timezone.now(), as_of=timezone.now())
    return {role: role and cookie_of(make_user(role.lower(), role, None)) for role in ROLES}


@contextmanager
def undone():
    """Undo everything that the block writes to the databases."""
    with ExitStack() as stack:
        for alias in ("default", "agents_write"):
            block = transaction.atomic(using=alias)
            # Mark this as a test's own transaction, so that durable blocks may run inside it.
            block._from_testcase = True
            stack.enter_context(block)
            stack.callback(transaction.set_rollback, True, using=alias)
        yield


def send(method: str, path: str, query: str = "", kind="", body=b"", **environment):
    client = Client(raise_request_exception=False)
    # A streamed answer is produced while it is read.
    with undone():
        # Django's test client would leave out the content type of an empty body.
        environment |= {"QUERY_STRING": query, "CONTENT_TYPE": known_type(kind)}
        response = client.generic(method, path, body, kind, **environment)
        return response, b"".join(response)


def assert_ours(method: str, response, body: bytes):
    assert response.status_code < 500, response.status_code
    assert missing(response) == []
    for name in REDIRECTS:
        assert not leads_elsewhere(response.get(name, "")), (name, response[name])
    if response.status_code >= 400 and method != "HEAD":
        assert b'class="notice"' in body or b"Conversation Desk" in body


@contextmanager
def looked_at(monkeypatch):
    """Yields a set that collects the names of parameters that a view reads."""
    names = set()
    with monkeypatch.context() as patch:
        for method in ("__getitem__", "__contains__", "get", "getlist"):
            patch.setattr(QueryDict, method, telling(getattr(QueryDict, method), names))
        yield names


def telling(method, names: set):
    def listening(self, name, *args, **kwargs):
        names.add(str(name))
        return method(self, name, *args, **kwargs)

    return listening


def parameters(path: str, session: str, monkeypatch) -> list[bytes]:
    with looked_at(monkeypatch) as names:
        send("GET", path, HTTP_COOKIE=session)
        send("POST", path, kind=FORM, HTTP_COOKIE=session)
    if path.startswith("/admin/"):
        names.update(PANEL)
    return sorted(name.encode() for name in names) or [b"a"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_request_makes_a_page_fail(address, sessions, monkeypatch):
    good = pieces(address, make_examples())
    names = parameters(filled(address, good), sessions["Admin"], monkeypatch)

    @given(st.data())
    def each(data):
        method = data.draw(st.sampled_from(METHODS))
        values = good
        if good and not data.draw(st.integers(0, 2)):
            bad = {name: data.draw(VALUES) for name in PIECE.findall(address)}
            values = {name: quote_from_bytes(value, safe="") for name, value in bad.items()}
        session = sessions[data.draw(st.sampled_from(ROLES))]
        kind, body = data.draw(bodies(names))
        query = data.draw(queries(names))
        environment = data.draw(headers(session))
        response, content = send(method, filled(address, values), query, kind, body, **environment)
        assert_ours(method, response, content)

    each()


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        *((kind, True) for kind in (FORM, f"{FORM}; charset=UTF-8", f'{FORM};charset="utf8"', "")),
        ("multipart/form-data; boundary=----WebKitFormBoundaryAb3", True),
        ("application/reports+json", True),
        *(
            (kind, False)
            for kind in (f"{FORM}; charset=hex", "text/plain; charset=idna", "x", "a/b;")
        ),
        *((kind, False) for kind in ("a/b; x*=hex''%41", "a/b; charset*=utf-8''utf-8", "a/b\n")),
    ],
)
def test_a_content_type_is_a_known_one_or_none(kind, known):
    assert known_type(kind) == (kind if known else "")


@pytest.fixture
def mine_and_others():
    mine = make_session(external_id="mine")
    make_message(mine, content="Hello")
    make_message(make_session(external_id="other"), content="Hello")
    return mine


def test_nonsense_never_widens_the_list_or_a_file(sessions, mine_and_others):
    cookie = {"HTTP_COOKIE": sessions["Support"]}

    @given(queries([name.encode() for name in FILTERS]))
    def each(bad):
        query = f"external_id=mine&{bad}&go=0"
        response, body = send("GET", LIST, query, **cookie)
        assert_ours("GET", response, body)
        if response.status_code == 200:
            rows = listed(response)
            assert set(rows) <= {mine_and_others.id}
            assert rows == [] or response.context["filter"].is_valid()
        response, body = send("GET", EXPORT, query, **cookie)
        assert_ours("GET", response, body)
        assert response.status_code == 400 or b'"other"' not in body

    each()


def test_text_is_searched_for_literally(sessions, mine_and_others):
    cookie = {"HTTP_COOKIE": sessions["Support"]}

    @given(st.sampled_from(("search", "external_id")), st.sampled_from(TEXTS) | st.text(max_size=3))
    def each(name, text):
        value = quote_from_bytes(text.encode("utf-8", "surrogatepass"))
        response, _ = send("GET", LIST, f"{name}={value}&go=0", **cookie)
        rows = response.context["rows"] if response.status_code == 200 else []
        if name == "search" and len(text.strip()) < 2 and text:
            assert rows == []
        elif name == "search":
            assert len(rows) == 2 * (text.lower() in "hello")
        else:
            begins = [normalised(each) for each in spellings(text)] if text else [""]
            external_ids = ("mine", "other")
            assert len(rows) == sum(each.startswith(tuple(begins)) for each in external_ids)

    each()
