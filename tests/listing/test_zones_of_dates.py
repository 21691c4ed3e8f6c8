"""Links with dates name a time zone, so they show the same rows to everybody."""

import uuid
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from conversations.selection.pagination import Cursor

from ..support.exports import ids, read_csv
from ..support.factories import make_conversation, make_session
from ..support.listing import COUNTS, NEW, listed, match
from ..support.pages import HTMX, LIST, get, text, url

pytestmark = pytest.mark.django_db
TOKYO, TALLINN = "Asia/Tokyo", "Europe/Tallinn"
# 1 June in Tokyo, still 31 May in the other time zones.
EVENING = datetime(2026, 5, 31, 20, tzinfo=UTC)
JUNE = {"start_date": "2026-06-01", "end_date": "2026-06-30"}


def links(response, *paths) -> list[dict]:
    """The parameters of all links and hx-get attributes with one of these paths, or the list's."""
    html = response.content.decode()
    parts = [part.split('"')[0] for part in html.replace('hx-get="', 'href="').split('href="')[1:]]
    found = [urlsplit(unescape(part)) for part in parts]
    return [parse_qs(each.query) for each in found if each.path in (paths or ("", LIST))]


def test_a_page_with_dates_names_the_zone_in_text_and_links(support_client):
    session = make_session(created_at=datetime(2026, 6, 1, tzinfo=UTC))
    support_client.cookies["timezone"] = TOKYO
    page = get(support_client, **JUNE)
    assert "Dates are in Asia/Tokyo" in text(page)
    with_dates = [each for each in links(page) if "start_date" in each]
    assert with_dates
    assert {each["tz"][0] for each in with_dates} == {TOKYO}
    assert f'<input type="hidden" name="tz" value="{TOKYO}"' in page.content.decode()
    [row] = links(page, url("detail", session.id))
    assert row["tz"] == [TOKYO]
    pushed = get(support_client, headers={**HTMX, "HX-Target": "main#browse"}, **JUNE)
    assert "tz=Asia%2FTokyo" in pushed["HX-Push-Url"]


def test_without_dates_neither_text_nor_links_name_a_zone(support_client):
    make_session()
    for query in ({}, {"tz": TOKYO}, {"tz": ""}):
        page = get(support_client, search="", **query)
        assert page.context["filter"].is_valid()
        assert len(listed(page)) == 1
        assert "Dates are in" not in text(page)
        assert page.context["query"] == ""
        # Links to recent days have both dates and a time zone.
        assert all("active_from" in each for each in links(page) if "tz" in each)
        assert page.context["chips"] == []


def test_removing_the_last_date_removes_the_zone(support_client):
    page = get(support_client, start_date="2026-06-01", search="hello", tz=TOKYO)
    by_label = {chip["label"]: chip["without"] for chip in page.context["chips"]}
    assert by_label == {
        "Created from": "search=hello",
        "Search": "start_date=2026-06-01&tz=Asia%2FTokyo",
    }


@pytest.mark.parametrize("cookie", [TALLINN, "America/New_York", "Nowhere/Else", ""])
def test_a_shared_link_shows_the_same_rows_to_everybody(support_client, cookie):
    session = make_session(created_at=EVENING, updated_at=EVENING)
    support_client.cookies["timezone"] = cookie
    day = {"start_date": "2026-06-01", "end_date": "2026-06-01"}
    assert match(support_client, tz=TOKYO, **day) == [session.id]
    assert match(support_client, **day) == []
    assert ids(support_client, tz=TOKYO, **day) == [str(session.id)]
    counted = get(support_client, COUNTS, tz=TOKYO, **day)
    assert counted.context["total"] == {"exact": 1}
    since = Cursor(EVENING - timedelta(days=1), uuid.UUID(int=0))
    assert get(support_client, NEW, since=since, tz=TOKYO, **day).json()["new"] == "1"


def test_only_the_page_with_the_zone_shows_times_in_it(support_client):
    session = make_session(created_at=EVENING, updated_at=EVENING)
    support_client.cookies["timezone"] = TALLINN
    page = get(support_client, tz=TOKYO, **JUNE).content.decode()
    assert "1 Jun 2026, 05:00:00 JST" in page
    assert "EEST" not in page
    assert "31 May 2026, 23:00:00 EEST" in get(support_client).content.decode()
    conversation = get(support_client, url("detail", session.id), tz=TOKYO, **JUNE)
    assert "31 May 2026, 23:00:00 EEST" in text(conversation)
    assert timezone.get_current_timezone_name() == "UTC"


def test_a_link_switches_to_the_viewers_own_zone(support_client):
    support_client.cookies["timezone"] = TALLINN
    page = get(support_client, tz=TOKYO, **JUNE)
    assert "Dates are in Asia/Tokyo . Use Europe/Tallinn instead" in text(page)
    assert page.context["zone"]["other"]["query"] == (
        "start_date=2026-06-01&end_date=2026-06-30&tz=Europe%2FTallinn"
    )
    page = get(support_client, tz=TALLINN, **JUNE)
    assert "instead" not in text(page)


def test_neighbours_are_those_of_the_list(support_client):
    outside = make_session(created_at=EVENING - timedelta(days=1), updated_at=EVENING)
    inside = [make_session(created_at=EVENING, updated_at=EVENING + timedelta(n)) for n in (1, 2)]
    page = get(support_client, url("detail", inside[0].id), tz=TOKYO, **JUNE)
    assert (page.context["newer"], page.context["older"]) == (inside[1].id, None)
    assert outside.id not in (page.context["newer"], page.context["older"])
    page = get(support_client, url("detail", inside[0].id), tz="UTC", **JUNE)
    assert page.context["newer"] is None


@pytest.mark.parametrize("dates", [{}, JUNE])
@pytest.mark.parametrize("tz", ["Mars/Base", "asia/tokyo ", "../UTC", "\0", "x" * 9000])
def test_an_unknown_zone_is_explained_and_matches_nothing(support_client, tz, dates):
    make_session(created_at=datetime(2026, 6, 10, tzinfo=UTC))
    page = get(support_client, tz=tz, **dates)
    assert "There is no time zone called" in text(page)
    assert not page.context["filter"].matching.queryset().exists()
    assert "Dates are in" not in text(page)
    answer = get(support_client, url("export", "conversations", "csv"), status=400, tz=tz, **dates)
    assert "There is no time zone called" in text(answer)
    assert get(support_client, COUNTS, tz=tz, **dates).context.get("total") is None


def test_two_zones_are_refused(support_client):
    page = get(support_client, f"{LIST}?tz=UTC&tz=Asia/Tokyo&start_date=2026-06-01")
    assert "“tz” is given twice." in text(page)


def test_the_export_command_accepts_a_zone(tmp_path):
    make_session(created_at=EVENING)
    path = tmp_path / "file"
    for options, number in (({"tz": TOKYO}, 1), ({}, 0)):
        call_command("export_conversations", start_date="2026-06-01", output=str(path), **options)
        assert len(read_csv(path.read_bytes())) == number
    with pytest.raises(CommandError, match="Time zone: There is no time zone called “Mars”"):
        call_command("export_conversations", tz="Mars", output=str(path))


# Days when clocks change

BERLIN = "Europe/Berlin"


def test_a_repeated_hour_is_included_twice(support_client):
    half_past = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1)]
    for at in half_past:
        make_session(created_at=at, updated_at=at)
    for at in (half_past[0] - timedelta(hours=1), half_past[1] + timedelta(hours=1)):
        make_session(created_at=at, updated_at=at)
    hour = {"start_date": "2026-10-25T02:00", "end_date": "2026-10-25T02:59", "tz": BERLIN}
    found = get(support_client, **hour).context["rows"]
    assert [row.created_at for row in found] == half_past[::-1]


def test_a_skipped_time_means_the_first_moment_after_it(support_client):
    change = datetime(2026, 3, 29, 1, tzinfo=UTC)
    before, after = (
        make_session(created_at=at, updated_at=at)
        for at in (change - timedelta(minutes=1), change + timedelta(minutes=1))
    )
    skipped = "2026-03-29T02:30"
    assert match(support_client, start_date=skipped, tz=BERLIN) == [after.id]
    assert match(support_client, end_date=skipped, tz=BERLIN) == [before.id]
    assert match(support_client, start_date=skipped, end_date=skipped, tz=BERLIN) == []


# Only Python uses names of zones, never PostgreSQL


def test_no_sql_statement_names_a_zone(support_client):
    session = make_conversation()
    support_client.cookies["timezone"] = "Asia/Calcutta"
    dates = {"start_date": "2026-01-01", "end_date": "2026-12-31T10:00", "problem": "any"}
    with CaptureQueriesContext(connections["agents"]) as captured:
        for path in (LIST, COUNTS, url("errors"), url("detail", session.id)):
            get(support_client, path, **({} if path == url("errors") else dates))
    statements = [query["sql"] for query in captured]
    assert statements
    assert not [sql for sql in statements if "Calcutta" in sql or "Kolkata" in sql]


def test_links_to_recent_days_keep_the_zone_of_all_other_dates(support_client):
    support_client.cookies["timezone"] = TALLINN
    for name in ("start_date", "problem_from", "step_until"):
        page = get(support_client, **{name: "2026-06-01", "node": "step", "tz": TOKYO})
        found = [each["tz"] for each in links(page) if "active_from" in each]
        assert found
        assert found == [[TOKYO]] * len(found), name
