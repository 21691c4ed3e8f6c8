"""Pages show short stand-ins where these are enough to tell people apart."""

import gzip
import time
from types import SimpleNamespace
from urllib.parse import urljoin

import pytest
from django.http import HttpResponse, StreamingHttpResponse

from conversations.access.reveal import MaskingMiddleware
from conversations.exports.views import FORMS
from privacy import stand_ins
from privacy.stand_ins import shortened

from ..support.factories import Json, make_agent, make_message, make_run, make_session, make_task
from ..support.histories import build_indexes
from ..support.masking import Page, found_in, masking_on
from ..support.pages import HTMX, body

pytestmark = pytest.mark.django_db
ADDRESSES = ("jane@planted.example", "john@planted.example")
JANE, JOHN, OTHER = "[e-mail HKMR-TWPX]", "[e-mail HKMR-BCDF]", "[phone ZZTW-BCDF]"
SHORT = "[e-mail HKMR]"


@pytest.mark.parametrize(
    "page",
    [
        # A stand-in with its own four letters, any number of times.
        "<p>Ü <<jane>>, <<jane>>: <<other>></p>",
        "<p>a > <<jane>> [x] &lt; <<other>></p>",
        "<b><<jane>></b><<other>><i>",
        '<pre>["<<jane>>"]</pre>',
        "<p><mark><<jane>></mark></p>",
        # Two with the same letters, of the same or different kinds, anywhere.
        "<p>JANE JOHN <<other>></p>",
        '<p title="JOHN">JANE <<other>></p>',
        "<p>JANE [card HKMR-TWPX]</p>",
        # In what a form sends, a link opens or a program reads.
        '<a href="?x=JANE" data-x="a>JANE"><<jane>></a>',
        "<input value='JANE'><br>",
        '<option value="JANE"><<jane>></option>',
        "<textarea name=x>\na JANE b</textarea><p><<jane>></p>",
        '<script type="application/json">["JANE"]</script><p><<jane>></p>',
        "<style>JANE</style><p><<jane>></p>",
        "<!-- JANE --><p>",
        # A hit that begins or ends inside a stand-in.
        "<p>[e-mail <mark>HKMR</mark>-TWPX]</p>",
        # One that somebody copied from a page.
        "<p>[e-mail HKMR] <<jane>> [phone]</p>",
        # Not a page.
        "JANE",
        "",
    ],
)
def test_stand_ins_are_short_unless_two_begin_alike(page):
    """<<jane>> stands for the short form."""
    page = page.replace("JANE", JANE).replace("JOHN", JOHN)
    before = page.replace("<<jane>>", JANE).replace("<<other>>", OTHER)
    after = page.replace("<<jane>>", SHORT).replace("<<other>>", "[phone ZZTW]")
    assert shortened(before.encode()).decode() == after


def test_a_page_without_stand_ins_is_not_touched():
    page = "<p>[e-mail HKMR] [x] [e-mail] [e-mail hkmr-twpx] ü</p>".encode()
    assert shortened(page) is page


def test_shortening_takes_time_in_proportion_to_the_page():
    """Text is not read again for each stand-in, bracket or tag in it."""

    def seconds(times: int) -> float:
        pieces = (JANE + " ", "<", ">", "[", "<p>[x", "a > b [", "[e-mail ")
        pages = [f"<p>{piece * times}{JANE}</p>".encode() for piece in pieces]
        # Without the time that other programs take.
        began = time.thread_time()
        for page in pages:
            shortened(page)
        return time.thread_time() - began

    # Sixteen times the text; 256 times as long if it were read again for each.
    assert min(seconds(80_000) for _ in range(3)) < 64 * min(seconds(5_000) for _ in range(3))


@pytest.fixture
def masked(settings, db, monkeypatch):
    """The stand-ins of both addresses begin with the same four letters."""
    made = {ADDRESSES[0]: JANE, ADDRESSES[1]: JOHN}
    monkeypatch.setattr(stand_ins, "made_of", lambda key, kind, value: made.get(value, OTHER))
    with masking_on(settings):
        yield


def conversation_of(agent, address: str):
    session = make_session(agent, external_id=address)
    run = make_run(session, input_data=Json({"me": address}))
    make_message(session, "user", f"I am {address}, +372 5987 6543", run_id=run.id)
    output = Json({"result": f"Error: no account for {address}"})
    make_task(run, session, "look-up", "tool_call", output=output)
    return session, run


def people_on(client, path: str, **options) -> set[str]:
    page = client.get(f"/conversations/{path}", **options).content.decode()
    return {each for each in Page(page).shown if "e-mail" in each}


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_two_people_whose_letters_begin_alike_are_told_apart(masked, support_client, headers):
    agent = make_agent("Shop")
    made = [conversation_of(agent, address) for address in ADDRESSES]
    build_indexes()
    for path in ("", "?search=account&scope=all", "errors/"):
        assert people_on(support_client, path, headers=headers) == {JANE, JOHN}, path
    # Each on its own.
    for session, run in made:
        for path in ("", "print/", f"runs/{run.id}/", f"runs/{run.id}/input_data/"):
            found = people_on(support_client, f"{session.id}/{path}", headers=headers)
            assert found == {SHORT}, path
    path = f"?external_id={ADDRESSES[1]}"
    assert people_on(support_client, path, headers=headers) == {SHORT}


def test_files_have_long_stand_ins(masked, support_client):
    session, run = conversation_of(make_agent("Shop"), ADDRESSES[0])
    here = f"/conversations/{session.id}/"
    exports = [f"{name}.{form}" for name in ("conversations", "messages") for form in FORMS]
    for path in (
        *("transcript.txt", "transcript.md", "conversation.json"),
        *(f"runs/{run.id}/input_data/raw/", f"runs/{run.id}/input_data/raw/?download"),
        *(f"/conversations/export/{file}" for file in exports),
    ):
        found = found_in(body(support_client.get(urljoin(here, path))))
        assert JANE in found, path
        assert {*found} <= {JANE, OTHER}, path


def test_shortened_pages_have_the_right_length_compressed_or_not(masked, support_client):
    session, _ = conversation_of(make_agent("Shop"), ADDRESSES[0])
    url = f"/conversations/{session.id}/"
    plain, small = (
        support_client.get(url, headers={"Accept-Encoding": coding}) for coding in ("", "gzip")
    )
    assert int(plain["Content-Length"]) == len(plain.content)
    assert int(small["Content-Length"]) == len(small.content) < len(plain.content)
    for page in (plain.content, gzip.decompress(small.content)):
        assert Page(page.decode()).shown == {SHORT, "[phone ZZTW]"}


def test_forms_send_long_stand_ins(masked, support_client):
    page = support_client.get("/conversations/", {"search": JANE}).content.decode()
    assert f'value="{JANE}"' in page
    assert (Page(page).kept, Page(page).shown) == ({JANE}, {SHORT})


def test_users_who_see_personal_data_get_unchanged_pages(masked, support_client, settings):
    session = make_session()
    make_message(session, content=f"I wrote to {JANE}.")
    assert people_on(support_client, f"{session.id}/") == {SHORT}
    support_client.post(f"/conversations/{session.id}/reveal/", {"reason": "They asked me to."})
    assert people_on(support_client, f"{session.id}/") == {JANE}
    settings.MASK_PERSONAL_DATA = False
    assert people_on(support_client, f"{session.id}/") == {JANE}


@pytest.mark.parametrize("kind", ["text/plain", "text/csv", "application/json", "text/html"])
@pytest.mark.parametrize("is_stream", [True, False])
def test_only_whole_pages_are_rewritten(settings, kind, is_stream):
    settings.MASK_PERSONAL_DATA = True
    answer = StreamingHttpResponse if is_stream else HttpResponse
    middleware = MaskingMiddleware(lambda _: answer([f"<p>{JANE}</p>"], content_type=kind))
    user = SimpleNamespace(has_perm=lambda _: False)
    content = b"".join(middleware(SimpleNamespace(user=user))).decode()
    is_page = kind == "text/html" and not is_stream
    assert content == f"<p>{SHORT if is_page else JANE}</p>"
