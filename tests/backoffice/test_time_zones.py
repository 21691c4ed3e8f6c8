"""Time zones that only the package tzdata knows, and local times that occur twice or never."""

import shutil
import zoneinfo
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from backoffice import time_zones

from ..support.factories import make_session
from ..support.pages import LIST, get, text, url

# Names that browsers still send, and that Debian has moved to a separate package.
OLD_NAMES = ["Asia/Calcutta", "Europe/Kiev", "America/Buenos_Aires"]
UNKNOWN = ["Etc/Unknown", "Nowhere/Else", "../UTC", "<b>", "x" * 3000, "localtime", "Factory"]
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def slim_tzdata(tmp_path):
    """A server whose tzdata has one zone."""
    before = zoneinfo.TZPATH
    [tallinn] = [path for root in before if (path := Path(root, "Europe/Tallinn")).exists()][:1]
    (tmp_path / "Europe").mkdir()
    shutil.copy(tallinn, tmp_path / "Europe")

    def use(paths):
        zoneinfo.reset_tzpath(to=paths)
        ZoneInfo.clear_cache()
        time_zones.known_names.cache_clear()

    use([str(tmp_path)])
    yield
    use(before)


@pytest.mark.parametrize("name", OLD_NAMES)
def test_old_names_are_known_even_if_the_systems_tzdata_lacks_them(slim_tzdata, name):
    assert time_zones.named(name).key == name


@pytest.mark.django_db
def test_times_are_shown_in_a_zone_with_an_old_name(slim_tzdata, support_client):
    session = make_session(created_at=NOON)
    support_client.cookies["timezone"] = "Asia/Calcutta"
    page = text(get(support_client, url("detail", session.id)))
    assert "1 Jun 2026, 17:30:00 IST" in page
    assert "not known here" not in page


@pytest.mark.django_db
@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_zone_is_mentioned_once_and_times_are_in_utc(support_client, settings, name):
    settings.TIME_ZONE = "Asia/Tokyo"
    session = make_session(created_at=NOON)
    support_client.cookies["timezone"] = name
    with timezone.override("Asia/Tokyo"):
        page = get(support_client, url("detail", session.id))
    assert "1 Jun 2026, 12:00:00 UTC" in text(page)
    assert text(page).count("so times are in UTC.") == 1
    assert "<bdi><b>" not in page.content.decode()
    assert "x" * 100 not in page.content.decode()
    fragment = get(support_client, LIST, headers={"HX-Request": "true"})
    assert "not known here" not in text(fragment)


@pytest.mark.django_db
def test_without_a_zone_from_the_browser_times_are_in_the_sites_zone(support_client, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    page = text(get(support_client, url("detail", make_session(created_at=NOON).id)))
    assert "1 Jun 2026, 21:00:00 JST" in page
    assert "not known here" not in page


@pytest.mark.parametrize(
    ("zone", "local", "earlier", "later"),
    [
        # A time that occurs once.
        ("Europe/Tallinn", "2026-06-01T12:00", "2026-06-01T09:00", "2026-06-01T09:00"),
        # Times that occur twice: clocks go back from 04:00 to 03:00, at midnight, and by half an
        # hour.
        ("Europe/Tallinn", "2026-10-25T03:30", "2026-10-25T00:30", "2026-10-25T01:30"),
        ("America/Havana", "2026-11-01T00:00", "2026-11-01T04:00", "2026-11-01T05:00"),
        ("Australia/Lord_Howe", "2026-04-05T01:45", "2026-04-04T14:45", "2026-04-04T15:15"),
        # Times that never occur become the first moment after the gap: from 03:00 to 04:00, at
        # midnight, or of a whole day.
        ("Europe/Tallinn", "2026-03-29T03:30", "2026-03-29T01:00", "2026-03-29T01:00"),
        ("Africa/Cairo", "2026-04-24T00:00", "2026-04-23T22:00", "2026-04-23T22:00"),
        ("Africa/Cairo", "2026-04-24T00:59:59.9", "2026-04-23T22:00", "2026-04-23T22:00"),
        ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00", "2011-12-30T10:00"),
    ],
)
def test_a_local_time_in_utc(zone, local, earlier, later):
    local, zone = datetime.fromisoformat(local), ZoneInfo(zone)
    found = [time_zones.in_utc(local, zone, later=each) for each in (False, True)]
    assert found == [datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (earlier, later)]
