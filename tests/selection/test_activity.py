"""Conversations by when something happened in them: a message, or the start of a run."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from ..support.exports import ids
from ..support.factories import make_agent, make_message, make_run, make_session
from ..support.histories import build_indexes
from ..support.limited import let_in_limited
from ..support.listing import COUNTS, NEW, listed, match, shown_counts
from ..support.pages import HTMX, LIST, get

pytestmark = pytest.mark.django_db
DAY = datetime(2026, 6, 3, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)
TICK = timedelta(microseconds=1)
ON_THE_DAY = {"active_from": "2026-06-03", "active_until": "2026-06-03"}


@pytest.fixture(params=["walked", "indexed"])
def _found(request):
    if request.param == "indexed":
        build_indexes()


@pytest.mark.usefixtures("_found")
@pytest.mark.parametrize("make", [make_message, make_run])
def test_the_bounds_are_half_open(support_client, make):
    made = {}
    for name, at in {
        "before": DAY - TICK,
        "first": DAY,
        "last": NEXT - TICK,
        "after": NEXT,
    }.items():
        made[name] = make_session(updated_at=DAY + len(made) * TICK)
        make(made[name], created_at=at)
    make_session(created_at=DAY, updated_at=DAY)
    assert match(support_client, **ON_THE_DAY) == [made["last"].id, made["first"].id]
    moments = {"active_from": DAY.isoformat(), "active_until": NEXT.isoformat()}
    assert match(support_client, **moments) == [made["last"].id, made["first"].id]
    after = [made[name].id for name in ("after", "last", "first")]
    assert match(support_client, active_from="2026-06-03") == after
    before = [made[name].id for name in ("last", "first", "before")]
    assert match(support_client, active_until="2026-06-03") == before


@pytest.mark.usefixtures("_found")
def test_activity_outside_the_sessions_own_times_is_found(support_client):
    """It went on for weeks; its last message is later than updated_at; it was imported later."""
    times = {
        "long": (DAY - timedelta(days=20), NEXT + timedelta(days=20)),
        "late": (DAY - timedelta(days=3), DAY - timedelta(minutes=5)),
        "imported": (NEXT + timedelta(days=90), NEXT + timedelta(days=90)),
        "other": (DAY - timedelta(days=20), NEXT + timedelta(days=20)),
    }
    made = {}
    for name, (created, updated) in times.items():
        made[name] = make_session(created_at=created, updated_at=updated)
        make_run(made[name], created_at=created if name != "imported" else DAY)
        make_message(made[name], created_at=updated)
        if name != "other":
            make_message(made[name], created_at=DAY + timedelta(hours=5))
    wanted = [made[name].id for name in ("imported", "long", "late")]
    assert match(support_client, **ON_THE_DAY) == wanted


def test_files_counts_and_new_arrivals_use_the_filter(support_client):
    active = make_session(updated_at=NEXT)
    make_message(active, created_at=DAY)
    make_run(active, output_data=None, created_at=NEXT)
    idle = make_session(updated_at=NEXT)
    make_run(idle, output_data=None, created_at=NEXT)
    assert ids(support_client, **ON_THE_DAY) == [str(active.id)]
    page = get(support_client, COUNTS, **ON_THE_DAY)
    assert page.context["total"] == {"exact": 1}
    assert shown_counts(page)["Run failed"] == "1"
    since = "0.00000000000000000000000000000000"
    assert get(support_client, NEW, since=since, **ON_THE_DAY).json()["new"] == "1"
    chips = get(support_client, **ON_THE_DAY).context["chips"]
    assert [chip["label"] for chip in chips] == ["Active from", "Active until"]
    assert chips[0]["without"] == "active_until=2026-06-03&tz=UTC"


def test_an_end_that_occurs_twice_means_the_later_time(support_client):
    made = {}
    for hour in (0, 1):
        made[hour] = make_session()
        make_message(made[hour], created_at=datetime(2026, 10, 25, hour, 30, tzinfo=UTC))
    hours = {"active_from": "2026-10-25T02:00", "active_until": "2026-10-25T02:59"}
    assert set(match(support_client, tz="Europe/Berlin", **hours)) == {
        each.id for each in made.values()
    }


# Links to recent days


@pytest.fixture
def late_in_the_day(monkeypatch):
    """Still the 27th in London, already the 28th in Tokyo."""
    now = datetime(2026, 11, 27, 20, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    return now


RECENT = {
    "Today": ("2026-11-28", "2026-11-28"),
    "Yesterday": ("2026-11-27", "2026-11-27"),
    "Last 7 days": ("2026-11-22", "2026-11-28"),
    "Last 30 days": ("2026-10-30", "2026-11-28"),
}


def test_recent_days_are_dates_in_the_viewers_zone(support_client, late_in_the_day):
    support_client.cookies["timezone"] = "Asia/Tokyo"
    page = get(support_client, agent="", external_id="user")
    links = {link["label"]: link["query"] for link in page.context["activity"]}
    assert links == {
        label: f"external_id=user&active_from={first}&active_until={last}&tz=Asia%2FTokyo"
        for label, (first, last) in RECENT.items()
    }
    assert [link["chosen"] for link in page.context["activity"]] == [False] * 4
    assert page.context["chips"][0]["label"] == "External id starts with"


@pytest.mark.parametrize("label", RECENT)
def test_a_link_to_recent_days_is_chosen_while_its_days_are_shown(
    support_client, late_in_the_day, label
):
    support_client.cookies["timezone"] = "Asia/Tokyo"
    [query] = [
        link["query"] for link in get(support_client).context["activity"] if link["label"] == label
    ]
    made = make_session(updated_at=late_in_the_day)
    first = datetime.fromisoformat(RECENT[label][0]).replace(tzinfo=UTC) - timedelta(hours=9)
    make_message(made, created_at=first)
    make_message(make_session(), created_at=first - TICK)
    page = get(support_client, f"{LIST}?{query}")
    assert listed(page) == [made.id]
    chosen = [link["label"] for link in page.context["activity"] if link["chosen"]]
    assert chosen == [label]
    assert page.content.decode().count('aria-current="true"') == 2
    # In another time zone it is the same list, though perhaps no longer "today".
    support_client.cookies["timezone"] = "Europe/London"
    page = get(support_client, f"{LIST}?{query}")
    assert listed(page) == [made.id]
    assert not any(link["chosen"] for link in page.context["activity"])


def test_recent_days_are_in_the_zone_of_the_other_dates(support_client, late_in_the_day):
    page = get(support_client, start_date="2026-01-01", tz="Asia/Tokyo")
    assert page.context["activity"][0]["query"] == (
        "start_date=2026-01-01&active_from=2026-11-28&active_until=2026-11-28&tz=Asia%2FTokyo"
    )


def test_without_filters_the_list_shows_all(support_client):
    old = make_session(updated_at=DAY)
    page = get(support_client, headers=HTMX)
    assert listed(page) == [old.id]


def test_an_agent_limit_also_limits_activity(client, db):
    ours, theirs = (make_session(make_agent(name)) for name in ("Ours", "Theirs"))
    for session in (ours, theirs):
        make_message(session, created_at=DAY)
    let_in_limited(client, "Support", [ours.agent_id])
    assert match(client, **ON_THE_DAY) == [ours.id]
    assert ids(client, **ON_THE_DAY) == [str(ours.id)]
    assert get(client, COUNTS, **ON_THE_DAY).context["total"] == {"exact": 1}
