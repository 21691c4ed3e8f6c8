"""What `manage.py notify` tells, when, and how often."""

import re
from datetime import timedelta

import pytest
from django.db import OperationalError

from overview.models import Activity, Episode, Threshold
from overview.notify import agents, errors

from ..errors.test_errors import build_indexes
from ..support.factories import make_agent
from ..support.figures import listed, roll_up
from ..support.notifying import QUARTER, START, WEEK, active, error

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
SITE = "https://desk.example.com"


@pytest.fixture
def shop():
    return make_agent("Shop")


def links(text: str) -> list[str]:
    return [link.removeprefix(SITE) for link in re.findall(rf"{SITE}\S+", text)]


# All rules


def test_the_first_run_tells_nothing_of_what_is_old(notifying, shop):
    build_indexes()
    error(shop, "gone")
    active(shop, number=20, has_problem=True)
    for weeks in range(1, 5):
        active(make_agent("Bank"), START - weeks * WEEK)
    roll_up()
    for quarters in range(4):
        assert notifying.run(START + quarters * QUARTER) == []
    assert set(Episode.objects.values_list("state", flat=True)) == {"old"}


def test_without_figures_errors_are_told_all_the_same(notifying, shop):
    build_indexes()
    notifying.try_to_run()
    assert "There are no figures until" in notifying.said
    error(shop, "gone")
    notifying.try_to_run()
    assert len(notifying.mail.received) == 1


def test_nothing_is_told_without_a_change(notifying, shop):
    active(shop)
    roll_up()
    assert [notifying.run(START + n * QUARTER) for n in range(3)] == [[], [], []]
    assert notifying.said == "Sent 0 messages.\n"


# Errors


def test_a_new_error_is_told_once_and_its_text_never(notifying, shop, support_client):
    build_indexes()
    roll_up()
    notifying.run()
    for _ in range(2):
        error(shop, "kingfisher is gone", name="canary")
    [text] = notifying.run()
    assert "New errors\n- Tool call failed, Shop: 2 times in 2 conversations" in text
    for received in (text, notifying.mail.received[0]["Subject"], str(notifying.web.received)):
        assert "gone" not in received
        assert "canary" not in received
    assert notifying.mail.received[0]["Subject"] == "Conversation Desk: 1 new error"
    assert links(text) == [
        f"/conversations/errors/?kind=tool_error&sort=new&agent={shop.id}&period=24h"
    ]
    assert support_client.get(links(text)[0]).context["form"].is_valid()
    error(shop, "kingfisher is gone", START, name="canary")
    assert notifying.run(START + QUARTER) == []
    assert notifying.run(START + 2 * HOUR) == []


def test_nothing_that_is_kept_holds_an_error_or_a_name(notifying, shop):
    build_indexes()
    roll_up()
    notifying.run()
    error(shop, "kingfisher is gone", name="canary")
    notifying.run()
    kept = str(list(Episode.objects.values()))
    assert "kingfisher" not in kept
    assert "canary" not in kept
    assert "Shop" not in kept


def test_fifty_new_errors_make_one_message(notifying, shop):
    build_indexes()
    roll_up()
    notifying.run()
    for number in range(50):
        error(shop, f"{'abcdefghij'[number // 10]}{'klmnopqrst'[number % 10]} is gone")
    [text] = notifying.run()
    assert notifying.mail.received[0]["Subject"] == "Conversation Desk: 50 new errors"
    assert text.count("Tool call failed") == 10
    assert f"- and 40 more\n  {SITE}/conversations/errors/?sort=new&period=24h" in text
    assert notifying.run(START + QUARTER) == []


def test_an_error_that_happened_before_is_not_new(notifying, shop):
    build_indexes()
    error(shop, "gone", START - timedelta(days=20))
    roll_up()
    notifying.run()
    error(shop, "gone")
    assert notifying.run() == []


def test_a_rising_error_is_told_once_until_it_has_calmed_down(notifying, shop):
    roll_up()
    for number in (0, 1):
        error(shop, "gone", START - timedelta(hours=30, minutes=number))
    assert notifying.run() == []
    for number in range(5):
        error(shop, "gone", START + number * QUARTER)
    assert notifying.run(START + QUARTER) == []
    [text] = notifying.run(START + HOUR + QUARTER)
    assert (
        "Rising errors\n- Tool call failed, Shop: 5 times in 24 hours, 2 in the 24 before" in text
    )
    assert notifying.run(START + 2 * HOUR) == []
    # A day later there are as many as the day before, and two days later it rises again.
    for number in range(5):
        error(shop, "gone", START + timedelta(days=1, hours=2, minutes=number))
    assert notifying.run(START + timedelta(days=1, hours=3)) == []
    for number in range(12):
        error(shop, "gone", START + timedelta(days=2, hours=2, minutes=number))
    [text] = notifying.run(START + timedelta(days=2, hours=3))
    assert "12 times in 24 hours, 5 in the 24 before" in text


def test_an_error_that_rises_less_for_a_while_is_not_told_again(notifying, shop):
    roll_up()
    notifying.run()
    day = timedelta(days=1)
    for moment in [START + number * QUARTER for number in range(4)]:
        error(shop, "gone", moment)
    assert len(notifying.run(START + HOUR)) == 1
    for number in (1, 8):
        for minute in range(number):
            error(shop, "gone", START + day + HOUR + timedelta(minutes=number + minute))
        # 5 after 4 is more, but not rising; 13 is.
        if number == 1:
            for minute in range(4):
                error(shop, "gone", START + day + HOUR + timedelta(seconds=minute))
        assert notifying.run(START + day + HOUR + 2 * QUARTER) == []


def test_what_could_not_be_read_does_not_end_an_episode(notifying, shop, monkeypatch):
    error(shop, "gone")
    roll_up()
    notifying.run()
    with monkeypatch.context() as patch:
        patch.setattr(errors.groups, "errors", lambda *args, **kwargs: errors.Errors(reached=START))
        notifying.run(START + QUARTER)
    for number in range(3):
        error(shop, "gone", START + number * QUARTER)
    [text] = notifying.run(START + HOUR)
    assert text.count("Tool call failed") == 1
    with monkeypatch.context() as patch:
        patch.setattr(errors.groups, "errors", lambda *args, **kwargs: errors.Errors(reached=START))
        notifying.run(START + HOUR)
    assert notifying.run(START + HOUR + QUARTER) == []


# Problem rates


def test_a_problem_rate_is_told_after_a_second_reading_and_its_end_once(
    notifying, shop, support_client
):
    active(shop, START - 2 * HOUR, number=40)
    active(shop, START, number=16)
    active(shop, START, number=7, has_problem=True)
    active(shop, START + 2 * HOUR, number=40)
    roll_up()
    assert notifying.run() == []
    assert notifying.run(START + QUARTER) == []
    # Another run in the same quarter of an hour is no second reading.
    assert notifying.run(START + QUARTER + timedelta(minutes=5)) == []
    [text] = notifying.run(START + 2 * QUARTER)
    assert "Agents with many problems\n- Shop: 30% (7 of 23 conversations) had a problem" in text
    assert "the threshold is 25%" in text
    [link] = links(text)
    assert listed(support_client, link) == 7
    assert notifying.run(START + 3 * QUARTER) == []
    [text] = notifying.run(START + 2 * HOUR + QUARTER)
    assert "Back to normal\n- Shop: 0% (0 of 40 conversations) had a problem" in text
    assert notifying.mail.received[-1]["Subject"] == "Conversation Desk: 1 back to normal"
    assert notifying.run(START + 2 * HOUR + 2 * QUARTER) == []


def test_a_rate_that_was_high_once_is_not_told(notifying, shop):
    active(shop, START, number=20, has_problem=True)
    active(shop, START + QUARTER, number=80)
    roll_up()
    assert [notifying.run(START + n * QUARTER) for n in range(4)] == [[]] * 4
    assert not Episode.objects.filter(rule="problem rate").exists()


@pytest.mark.parametrize(("percent", "is_over"), [(23, False), (21, False), (19, True)])
def test_a_rate_is_normal_again_below_a_lower_bound(percent, is_over):
    agent, until = make_agent(), START
    active(agent, START - QUARTER, number=100 - percent)
    active(agent, START - QUARTER, number=percent, has_problem=True)
    roll_up()
    reading = agents.rates(until, agents.thresholds())
    assert reading.holds == {}
    assert reading.is_over(str(agent.id)) is is_over


@pytest.mark.parametrize("number", [19, 20])
def test_a_rate_needs_a_minimum_of_conversations(notifying, shop, number):
    active(shop, START, number=number, has_problem=True)
    roll_up()
    told = [notifying.run(START + n * QUARTER) for n in range(4)]
    assert sum(map(len, told)) == (number == 20)


def test_an_agent_with_few_conversations_is_judged_by_more_hours(notifying, shop):
    for hours in range(10):
        active(shop, START - hours * HOUR - QUARTER, number=2, has_problem=True)
    roll_up()
    reading = agents.rates(START, agents.thresholds())
    assert reading.holds[str(shop.id)]["conversations"] == 20


def test_thresholds_are_the_agents_own(notifying, shop):
    bank = make_agent("Bank")
    Threshold.objects.create(agent_id=shop.id, problem_percent=90, minimum_conversations=5)
    Threshold.objects.create(agent_id=bank.id, problem_percent=None)
    for agent in (shop, bank):
        active(agent, START, number=9, has_problem=True)
        active(agent, START, number=1)
    roll_up()
    told = [text for n in range(4) for text in notifying.run(START + n * QUARTER)]
    assert len(told) == 1
    assert "Shop: 90% (9 of 10 conversations)" in told[0]
    assert "the threshold is 90%" in told[0]


# Silence


def usually_active(agent, weeks=(1, 2, 3, 4)):
    for week in weeks:
        for hours in range(-8, 3):
            active(agent, START - week * WEEK + hours * HOUR)


def test_a_silent_agent_is_told_once_and_that_it_is_active_again(notifying, shop):
    usually_active(shop)
    active(shop, START - 6 * HOUR)
    active(shop, START + 2 * HOUR)
    roll_up()
    assert notifying.run() == []
    [text] = notifying.run(START + QUARTER)
    assert "Silent agents\n- Shop: nothing has happened since" in text
    assert links(text) == [f"/agents/{shop.id}/"]
    assert notifying.run(START + HOUR) == []
    [text] = notifying.run(START + 2 * HOUR + QUARTER)
    assert "Back to normal\n- Shop is active again" in text
    assert notifying.run(START + 2 * HOUR + 2 * QUARTER) == []


def test_silence_is_usual_at_times_when_nothing_happened_in_two_of_four_weeks(notifying, shop):
    usually_active(shop, weeks=(1, 2))
    active(shop, START - 6 * HOUR)
    roll_up()
    assert [notifying.run(START + n * QUARTER) for n in range(4)] == [[]] * 4


def test_silence_goes_on_when_it_becomes_usual(shop):
    usually_active(shop)
    roll_up()
    reading = agents.silences(START + 10 * HOUR, agents.thresholds())
    assert reading.holds == {}
    assert not reading.is_over(str(shop.id))


def test_an_agent_that_may_be_silent_is_not_told(notifying, shop):
    Threshold.objects.create(agent_id=shop.id, silent_hours=None)
    usually_active(shop)
    active(shop, START - 6 * HOUR)
    roll_up()
    assert [notifying.run(START + n * QUARTER) for n in range(4)] == [[]] * 4


# What cannot be read


def test_late_figures_are_told_once_and_no_numbers(notifying, shop):
    active(shop, START, number=20, has_problem=True)
    roll_up()
    assert notifying.run() == []
    late = START + QUARTER
    assert notifying.run(late + HOUR, as_of=late) == []
    [text] = notifying.run(late + HOUR + QUARTER, as_of=late)
    assert "Figures are late" in text
    assert "Shop" not in text
    assert notifying.run(late + HOUR + 2 * QUARTER, as_of=late) == []
    [text] = notifying.run(START + 2 * HOUR)
    assert "- The figures are up to date again" in text


def test_a_query_that_fails_is_said_at_once_and_told_if_it_fails_again(
    notifying, shop, monkeypatch
):
    active(shop)
    roll_up()
    notifying.run()

    def broken(*args, **kwargs):
        raise OperationalError("kingfisher")

    with monkeypatch.context() as patch:
        patch.setattr(errors.groups, "errors", broken)
        for quarters, number in ((1, 0), (2, 1), (3, 1)):
            notifying.try_to_run(START + quarters * QUARTER)
            assert notifying.has_failed
            assert "did not answer" in notifying.said
            assert "kingfisher" not in notifying.said
            assert len(notifying.mail.received) == number
    assert "Not everything could be read" in notifying.mail.received[0].get_content()
    [text] = notifying.run(START + 4 * QUARTER)
    assert "- Everything can be read again" in text


def test_figures_that_cannot_be_read_do_not_undo_what_else_is_noted(notifying, shop, monkeypatch):
    build_indexes()
    active(shop)
    roll_up()
    notifying.run()
    error(shop, "gone")
    monkeypatch.setattr(agents.figures, "by_agent", lambda span: Activity.objects.raw("no SQL")[0])
    notifying.try_to_run()
    assert "did not answer" in notifying.said
    assert "New errors" in notifying.mail.received[0].get_content()
