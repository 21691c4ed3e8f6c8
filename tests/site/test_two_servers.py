"""
Two web servers of one deployment, as on two machines: the same settings and databases, but no
shared files. Requests alternate between the two.
"""

import dataclasses
import itertools
import shutil

import pytest
from django.conf import settings

from demo import write_demo

from ..support.deployment import deployment
from ..support.exports import URL, read_csv
from ..support.person import make_person, sign_in

LIST = "/conversations/"
PROXY = {"Host": "desk.example.com", "X-Forwarded-Proto": "https"}
EMAIL = "jane.roe@example.com"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("two_servers")]


@pytest.fixture(scope="module")
def site():
    with deployment("two_servers", settings.LOCAL_POSTGRES) as made:
        write_demo(made.database, count=30)
        made.settings |= {
            "SECRET_KEY": "a key that both of them have " + "0123456789abcdefghij" * 2,
            "ALLOWED_HOSTS": PROXY["Host"],
            "BEHIND_PROXY": "1",
            "EXPORTS_AT_ONCE": "1",
            "MASK_PERSONAL_DATA": "1",
        }
        made.prepare()
        yield made


@pytest.fixture(scope="module")
def servers(site, tmp_path_factory):
    def elsewhere():
        place = tmp_path_factory.mktemp("machine")
        shutil.copytree(site.settings["STATIC_ROOT"], place / "static")
        own = {"DESK_DATA_DIR": str(place), "STATIC_ROOT": str(place / "static")}
        return dataclasses.replace(site, settings={**site.settings, **own})

    with elsewhere().serving() as first, elsewhere().serving() as second:
        yield first, second


@pytest.fixture
def turns(servers):
    return itertools.cycle(servers)


@pytest.fixture(scope="module")
def support(site, servers):
    person = make_person(site, "Support", "jo", **PROXY)
    page = sign_in(person, servers[0], "jo", answered_by=servers[1])
    assert (page.status, page.url) == (200, LIST)
    return person


@pytest.fixture(scope="module")
def admin(site, servers):
    person = make_person(site, "Admin", **PROXY)
    sign_in(person, servers[1], "admin", answered_by=servers[0])
    return person


def ids(site):
    return [session_id for (session_id,) in site.database.execute("SELECT id FROM sessions")]


def test_signing_in_on_one_server_signs_in_on_the_other(site, servers, turns, support):
    paths = [LIST, "/conversations/errors/", *(f"{LIST}{session_id}/" for session_id in ids(site))]
    for path in paths * 2:
        page = support.get(next(turns), path)
        assert (page.status, page.url) == (200, path)


def test_both_link_to_the_same_files(servers, support):
    one, other = (support.get(server, "/conversations/errors/").text for server in servers)
    assert one.partition("<body>")[0] == other.partition("<body>")[0]


def test_signing_out_on_one_server_signs_out_on_the_other(site, servers):
    person = make_person(site, "Viewer", **PROXY)
    sign_in(person, servers[0], "viewer")
    kept = {name: each.value for name, each in person.cookies.items()}
    form = person.get(servers[1], LIST).text
    token = form.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    origin = {"Origin": "https://desk.example.com"}
    data = {"csrfmiddlewaretoken": token}
    assert person.request(servers[1], "POST", "/accounts/logout/", data, **origin).status == 302
    for name, value in kept.items():
        person.cookies[name] = value
    assert person.get(servers[0], LIST).url.startswith("/accounts/login/")


def test_data_revealed_on_one_server_is_visible_on_the_other(site, servers, turns, support):
    session_id = ids(site)[0]
    site.database.execute(
        "UPDATE chat_messages SET content = %s WHERE session_id = %s", [EMAIL, session_id]
    )
    path = f"{LIST}{session_id}/"
    for _ in range(4):
        assert EMAIL not in support.get(next(turns), path).text
    one, other = servers
    page = support.post(one, f"{path}reveal/", other, reason="She asked for it on the phone")
    assert page.status == 200
    for _ in range(4):
        assert EMAIL in support.get(next(turns), path).text


def test_a_form_from_one_server_can_be_sent_to_the_other(site, servers, admin):
    [agent] = site.database.execute("SELECT id FROM agents LIMIT 1").fetchone()
    path = f"/admin/conversations/agent/{agent}/change/"
    page = admin.post(servers[0], path, servers[1], name="Named by two", description="")
    assert "was changed successfully" in page.text
    for server in servers:
        assert "Named by two" in admin.get(server, LIST).text


def test_exports_on_both_servers_are_counted_together(site, servers, support):
    one, other = servers
    with site.locked():
        response = one.get(f"{URL}messages.csv", Cookie=support.cookie, **PROXY)
        for server in (one, other, one, other):
            assert support.get(server, f"{URL}conversations.csv").status == 429
    [messages] = site.database.execute("SELECT count(*) FROM chat_messages").fetchone()
    assert len(read_csv(response.read())) == messages
    assert support.get(other, f"{URL}conversations.csv").status == 200
