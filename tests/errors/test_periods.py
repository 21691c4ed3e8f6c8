"""The page Errors compares periods, and its numbers agree with the list."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qsl

import pytest
from django.utils import timezone

from conversations.errors import groups as errors
from conversations.errors import periods
from conversations.indexes import state

from ..support.factories import NULL, Json, make_run, make_session, make_task
from ..support.listing import match
from ..support.pages import error_links, get, text, words
from .test_errors import URL, build_indexes, model_failure, task_failure, tool_failure

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
# Clocks went back in Europe on 25 October 2026 and, at midnight, in Havana on 1 November.
ZONES = ["UTC", "Europe/Tallinn", "America/Havana", "Asia/Kathmandu", "Pacific/Kiritimati"]
NOW = datetime(2026, 11, 1, 13, 30, 15, 250_000, tzinfo=UTC)
NAMES = [name for name, _ in periods.CHOICES]


@pytest.fixture(autouse=True)
def _fresh_indexes(db):
    state.forget()
    yield
    state.forget()


@pytest.fixture(params=["without indexes", "with indexes"])
def either_way(request, db):
    if request.param == "with indexes":
        build_indexes()


@pytest.fixture
def at(monkeypatch):
    def set_clock(moment):
        monkeypatch.setattr(timezone, "now", lambda: moment)

    set_clock(NOW)
    return set_clock


def fail_at(moment, text="gone", **fields):
    session = make_session(created_at=moment, updated_at=moment)
    return tool_failure(text, session=session, created_at=moment, **fields)


def found(period="14d", order="count"):
    return errors.errors(5, shown=periods.named(period), order=order).groups


def by_words(**asked):
    return {group.words: group for group in found(**asked)}


# Numbers


def edges(shown) -> list[datetime]:
    """Moments at which something ends, and the moments just before."""
    ends = [*shown.starts, shown.until, shown.before.since, shown.before.until]
    return sorted({end.astimezone(UTC) for end in ends})


def numbers(page) -> list[tuple[str, int]]:
    """(link to the list, number of conversations shown) for groups and the names in them."""
    links = re.findall(r'<a [^>]*href="([^"]*)"[^>]*>(.*?)</a>', page.content.decode(), re.DOTALL)
    told = [(link, re.search(r" in (\d+) conversation", words(inside))) for link, inside in links]
    return [(unescape(link), int(number[1])) for link, number in told if number]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("period", NAMES)
def test_each_number_agrees_with_the_list_that_it_links_to(support_client, at, zone, period):
    support_client.cookies["timezone"] = zone
    with timezone.override(zone):
        shown = periods.named(period)
    for place, edge in enumerate(edges(shown)):
        for moment in (edge - timedelta(microseconds=1), edge):
            fail_at(moment, "lost" if place % 2 else "gone")
            model_failure("busy", 503, make_session(), created_at=moment, model=f"m{place % 3}")
            make_run(make_session(), output_data=NULL, created_at=moment)
    session = make_session()
    task_failure("why")
    make_task(make_run(session, output_data=NULL), session, "t", errors=Json("y"), created_at=NOW)
    page = get(support_client, f"{URL}?period={period}")
    leading = numbers(page)
    # Two tools, three models, all three models together, runs without a reason, a task.
    assert len(leading) >= 7
    for link, number in leading:
        assert f"problem_until={shown.until.astimezone(UTC):%Y-%m-%d}" in link
        assert number > 0
        assert len(match_all(support_client, link)) == number, link


def match_all(client, link) -> list:
    """From all pages of the list."""
    ids, after = [], ""
    while True:
        response = get(client, f"{link}{after}")
        assert response.context["filter"].is_valid(), response.context["filter"].errors
        ids += [row.pk for row in response.context["rows"]]
        if not response.context["next_cursor"]:
            return ids
        after = f"&after={response.context['next_cursor']}"


def test_the_page_uses_the_viewers_time_zone(support_client, at):
    support_client.cookies["timezone"] = "Asia/Kathmandu"
    fail_at(NOW)
    [link] = error_links(get(support_client, f"{URL}?period=7d"))
    assert "problem_from=2026-10-26&" in link
    assert link.endswith("tz=Asia%2FKathmandu")


# Periods


def test_today_is_compared_with_yesterday_to_this_hour(either_way, at):
    for hours in (1, 5, 13):
        fail_at(NOW - timedelta(hours=hours))
    # The comparison ends at 13:30 yesterday.
    for hours in (23, 24 - 1e-6, 25, 30, 37, 38):
        fail_at(NOW - timedelta(hours=hours))
    [group] = found("today")
    assert (group.number, group.before) == (3, 3)
    [group] = found("24h")
    assert (group.number, group.before) == (5, 4)
    [group] = found("7d")
    assert (group.number, group.before) == (9, 0)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("Europe/Tallinn", 25, 25), ("Europe/Tallinn", 24, 24), ("UTC", 25, 24)],
)
def test_a_day_has_the_hours_of_the_viewers_zone(at, zone, day, hours):
    with timezone.override(zone):
        at(datetime(2026, 10, day, 23, 30, tzinfo=timezone.get_current_timezone()))
        shown = periods.named("today")
        assert len(shown.starts) == hours
        assert timezone.localtime(shown.since).hour == 0
        before = [timezone.localtime(end) for end in (shown.before.since, shown.before.until)]
        assert [(each.day, each.hour) for each in before] == [(day - 1, 0), (day - 1, 23)]


@pytest.mark.parametrize("name", ["today", "7d", "14d", "30d"])
@pytest.mark.parametrize("zone", ZONES)
def test_a_period_and_the_one_before_do_not_overlap(at, name, zone):
    for hours in range(0, 24 * 14, 7):
        at(NOW - timedelta(days=10) + timedelta(hours=hours))
        with timezone.override(zone):
            shown = periods.named(name)
        utc = [each.astimezone(UTC) for each in shown.starts]
        assert utc == sorted(set(utc))
        assert shown.before.since < shown.before.until <= utc[0] < shown.until


# New and rising


def test_rising_means_half_as_many_again_and_three_more(either_way, at, support_client):
    yesterday = NOW - timedelta(days=1, minutes=1)
    for text_, before, now in [
        ("none", 0, 3),
        ("few", 0, 2),
        ("half", 6, 9),
        ("less than half", 8, 11),
        ("same", 4, 4),
        ("fewer", 5, 1),
    ]:
        for moment, times in ((yesterday, before), (NOW, now)):
            for _ in range(times):
                fail_at(moment, text_)
    rising = {name for name, group in by_words(period="today").items() if group.is_rising}
    assert rising == {"none", "half"}
    page = get(support_client, f"{URL}?period=today")
    assert page.content.decode().count(">rising</span>") == 2
    assert "before: 6" in text(page)
    assert "Rising : at least half as many again" in text(page)
    assert "compared with yesterday until 13:30" in text(page)


def test_new_today_means_not_seen_yesterday(at):
    build_indexes()
    fail_at(NOW - timedelta(hours=20), "old")
    for words_ in ("old", "young"):
        fail_at(NOW, words_)
    assert {name: group.is_new for name, group in by_words(period="today").items()} == {
        "old": False,
        "young": True,
    }
    assert all(group.is_new for group in found("24h"))


# Order


def test_groups_are_sorted_as_asked(at, support_client):
    build_indexes()
    day = timedelta(days=1)
    for name, moments in {
        "frequent": [NOW - 15 * day] * 9 + [NOW - 2 * day] * 5,
        "rising": [NOW - 15 * day] + [NOW - 3 * day] * 4,
        "new": [NOW - day] * 2,
        "last": [NOW - 15 * day, NOW],
    }.items():
        for moment in moments:
            fail_at(moment, name)
    firsts = {order: found(order=order)[0].words for order in ("count", "rising", "new", "last")}
    assert firsts == {"count": "frequent", "rising": "rising", "new": "new", "last": "last"}


def test_a_link_to_another_period_keeps_the_other_choices(support_client):
    page = get(support_client, f"{URL}?sort=rising&period=7d&kind=tool_error")
    [link] = [each for each in page.context["periods"] if each["label"] == "Today"]
    assert dict(parse_qsl(link["query"])) == {
        "kind": "tool_error",
        "period": "today",
        "sort": "rising",
    }
    assert f'href="{URL}?{link["query"]}"' in unescape(page.content.decode())


def test_sorting_by_newest_reads_more_groups_than_it_shows(at, monkeypatch):
    build_indexes()
    monkeypatch.setattr(errors.collect, "GROUPS", 2)
    for name in ("a", "b", "c"):
        for _ in range(3):
            fail_at(NOW - timedelta(days=3), name)
    fail_at(NOW, "d")
    assert "d" not in [group.words for group in found()]
    assert found(order="new")[0].words == "d"
    assert errors.errors(5, order="new").groups_left_out == 2


@pytest.mark.parametrize("query", ["period=3d", "period=7d&period=14d", "sort=best", "period=%00"])
def test_an_invalid_period_shows_nothing(support_client, query):
    tool_failure()
    page = get(support_client, f"{URL}?{query}")
    assert error_links(page) == []
    assert "Fix the highlighted filter to see results." in text(page)


# Models


def test_the_same_problem_of_several_models_is_one_group_that_opens(either_way, support_client):
    both = model_failure("busy", 429, model="small")
    model_failure("busy", 429, session=both, model="large")
    large = model_failure("busy", 429, model="large")
    model_failure("busy", 503, model="large")
    model_failure("busy", 429, model="<b>&")
    several, one = found()
    assert several.words == "429: busy"
    assert (several.number, several.conversations) == (4, 3)
    assert [(name.name, name.number, name.conversations) for name in several.names] == [
        ("large", 2, 2),
        ("<b>&", 1, 1),
        ("small", 1, 1),
    ]
    # Another status makes another problem, and a group of one model shows its name.
    assert (one.message, one.names) == ("large: 503: busy", [])
    page = get(support_client, URL)
    assert "3 models 429: busy" in text(page)
    assert "<b>&" not in page.content.decode()
    links = dict(numbers(page))
    assert sorted(links.values()) == [1, 1, 1, 2, 3]
    for link, number in links.items():
        assert len(match(support_client, link)) == number
    [of_large] = [link for link, number in links.items() if number == 2]
    assert set(match(support_client, of_large)) == {both.id, large.id}


def test_models_that_are_not_listed_are_counted(support_client, monkeypatch):
    monkeypatch.setattr(errors.collect, "NAMES", 2)
    for name in "abcd":
        model_failure("busy", 429, model=name)
    page = get(support_client, URL)
    assert "4 models 429: busy" in text(page)
    assert "and 2 more" in text(page)


# Bars


def test_all_bars_have_one_scale_with_an_axis(at, support_client):
    for _ in range(8):
        fail_at(NOW, "often")
    fail_at(NOW, "once")
    often, once = found("7d")
    assert often.trend.bars() == "M42 24v-24.0h5v24.0z"
    assert once.trend.bars() == "M42 24v-3.0h5v3.0z"
    shown = text(get(support_client, f"{URL}?period=7d"))
    assert "Up to 8 a day 26 Oct 1 Nov" in shown
    assert "numbers per day 8 on 1 Nov" in shown
    shown = text(get(support_client, f"{URL}?period=today"))
    assert "Up to 8 an hour 00:00 13:30" in shown
    assert "numbers per hour 8 at 13:00 UTC" in shown
