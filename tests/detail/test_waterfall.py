"""The bars of a run's steps: all on one scale, which odd times do not stretch."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from backoffice.words import seconds
from conversations.detail.waterfall import SHORTEST_BAR, waterfall
from conversations.models import Run, Task

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ALL = slice(None)


def task(name="step", ended=0.0, duration=0.0, **fields):
    """An unsaved task that ended `ended` seconds after noon."""
    fields = {"node_type": "llm", "created_at": NOON + timedelta(seconds=ended), **fields}
    return Task(name=name, duration_seconds=duration, **fields)


def run(duration=10.0, lasted=10.0, **fields):
    times = {"created_at": NOON, "updated_at": NOON + timedelta(seconds=lasted)}
    return Run(duration_seconds=duration, **{**times, **fields})


def drawn(tasks, of=None):
    """The waterfall of these tasks; by default, their run lasted long enough for all of them."""
    return waterfall(of or run(None, 10**6), tasks, ALL)


def places(tasks, of=None):
    return [(bar.x, bar.width) for bar in drawn(tasks, of).bars]


def near(x, width):
    return pytest.approx((x, width), abs=0.06)


# Places


def test_no_steps_make_no_bars():
    assert drawn([]).bars == []


def test_the_start_of_a_task_is_its_end_minus_its_duration():
    # 0 to 2, 2 to 6 in parallel with 3 to 8, and 8 to 10, out of 10 seconds.
    tasks = [task(ended=2, duration=2.0), task(ended=6, duration=4.0)]
    tasks += [task(ended=8, duration=5.0), task(ended=10, duration=2.0)]
    assert drawn(tasks).span == 10
    assert places(tasks) == [near(0, 20), near(20, 40), near(30, 50), near(80, 20)]


def test_the_scale_begins_with_the_earliest_start_not_the_first_row():
    # The caller is written last but started first: it took 0 to 10, its calls 1 to 2 and 4 to 9.
    tasks = [task(ended=2, duration=1.0), task(ended=9, duration=5.0)]
    tasks.append(task(ended=10, duration=10.0))
    assert places(tasks) == [near(10, 10), near(40, 50), near(0, 100)]


def test_a_short_task_stays_visible_and_inside():
    bars = drawn([task(ended=5000, duration=5000.0), task(ended=5000, duration=0.001)]).bars
    assert bars[1].width == SHORTEST_BAR
    assert bars[1].x + bars[1].width == 100


def test_each_page_of_a_run_is_drawn_on_the_scale_of_the_whole_run():
    tasks = [task(f"step-{n}", n + 1, 1.0) for n in range(300)]
    whole, page = drawn(tasks), waterfall(run(None, 300), tasks, slice(200, 300))
    assert (page.span, page.ticks) == (whole.span, whole.ticks) == (300, whole.ticks)
    assert page.bars == whole.bars[200:]
    assert page.bars[0].x == pytest.approx(66.7, abs=0.1)


def test_each_kind_of_step_has_its_colour():
    kinds = ["llm", "agent", "tool_call", "switch", None, "<b>"]
    bars = drawn([task(node_type=kind) for kind in kinds]).bars
    assert [bar.looks for bar in bars] == ["model", "model", "tool", "other", "other", "other"]


# Odd times


@pytest.mark.parametrize(
    "duration", [None, float("nan"), float("inf"), float("-inf"), -5.0, -1e308, 0.0]
)
def test_an_impossible_duration_counts_as_zero(duration):
    tasks = [task(ended=1, duration=1.0), task(ended=2, duration=duration), task(ended=4)]
    assert drawn(tasks).span == 4
    assert places(tasks)[1] == near(50, SHORTEST_BAR)


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), float("-inf"), -5.0])
def test_an_impossible_duration_is_labelled_clock_differs(duration):
    fine, odd = drawn([task(ended=1, duration=1.0), task(ended=2, duration=duration)]).bars
    assert (fine.looks, fine.duration) == ("model", "1.0 s")
    assert (odd.looks, odd.duration) == ("model off", "clock differs")
    assert odd.title == f"{seconds(duration)}, starts at 2.0 s"


STEPS = [task("one", 4, 4.0), task("two", 9, 5.0), task("three", 10, 1.0)]
DAY = 86_400


@pytest.mark.parametrize(
    ("wrong", "starts", "beyond", "at_the_left"),
    [
        (task(ended=DAY, duration=2.0), "23 h 59 min", "after", False),
        (task(ended=-DAY, duration=2.0), "−24 h 0 min", "before", True),
        (task(ended=5, duration=1e9), "−1e+09 s", "before", True),
        (task(ended=1e9, duration=1.7e308), "−1.7e+308 s", "before after", True),
        (task(ended=14, duration=1.0), "13.0 s", "after", False),
        (task(created_at=datetime.max.replace(tzinfo=UTC)), "2.52e+11 s", "after", False),
    ],
)
@pytest.mark.parametrize("place", range(4))
def test_a_step_outside_its_run_does_not_stretch_the_scale(
    wrong, starts, beyond, at_the_left, place
):
    steps = [*STEPS[:place], wrong, *STEPS[place:]]
    made, plain = drawn(steps, run()), drawn(STEPS, run())
    assert (made.span, made.ticks) == (plain.span, plain.ticks) == (10, plain.ticks)
    bar = made.bars.pop(place)
    assert made.bars == plain.bars
    assert (bar.looks, bar.duration) == (f"model off {beyond}", "clock differs")
    assert f"starts at {starts}, clock differs" in bar.title
    assert (bar.x == 0) == at_the_left
    assert bar.x + bar.width <= 100


def test_steps_of_a_healthy_run_are_inside():
    """The runtime writes a step a little after it ends, perhaps even after the end of its run."""
    bars = drawn([*STEPS, task(ended=10.9, duration=0.1)], run()).bars
    assert {bar.looks for bar in bars} == {"model"}


@pytest.mark.parametrize("lasted", [-10.0, 0.0, 10.0])
def test_steps_of_a_run_without_a_duration(lasted):
    """Such a run is still running, was interrupted, or was written by an old runtime."""
    slow = [*STEPS, task(ended=10 + 7200, duration=7200.0), task(ended=7500, duration=None)]
    steps = [*slow, task(ended=7 * DAY, duration=1.0), task(ended=20, duration=1e9)]
    made = drawn(steps, run(None, lasted))
    assert made.span == 7500
    assert ["off" in bar.looks for bar in made.bars] == [False] * 5 + [True] * 2


def test_if_all_steps_are_outside_their_run_the_scale_fits_them():
    elsewhere = run(created_at=NOON - timedelta(days=1))
    made = drawn(STEPS, elsewhere)
    assert made.span == 10
    assert places(STEPS, elsewhere) == places(STEPS)
    assert {bar.duration for bar in made.bars} == {"clock differs"}


def test_tasks_without_durations_are_drawn_where_they_ended():
    tasks = [task(ended=second, duration=None) for second in (0, 5, 10)]
    last = 100 - SHORTEST_BAR
    assert places(tasks) == [near(x, SHORTEST_BAR) for x in (0, 50, last)]
    unknown = drawn(tasks).bars[1]
    assert (unknown.duration, unknown.title) == ("", "duration unknown, starts at 5.0 s")


@pytest.mark.parametrize("duration", [None, 0.0, 1e-12])
def test_tasks_that_took_no_time_all_begin_at_the_left(duration):
    made = drawn([task(duration=duration)] * 3)
    assert {bar.x for bar in made.bars} == {0}
    assert [tick.label for tick in made.ticks] == ["0 ms"]


@pytest.mark.parametrize("duration", [1e9, 1e15, 1.7e308])
@pytest.mark.parametrize(
    "moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
)
def test_times_beyond_the_calendar_stay_inside(moment, duration):
    tasks = [task(), task(duration=duration, created_at=moment), task(duration=duration)]
    for some in (tasks, tasks[1:2], tasks[::-1]):
        for x, width in places(some):
            assert x >= 0
            assert width >= SHORTEST_BAR
            assert x + width <= 100.01


@pytest.mark.parametrize(
    ("span", "labels"),
    [
        (0.0004, ["0 ms"]),
        (0.0035, ["0 ms", "1 ms", "2 ms", "3 ms"]),
        (0.282, ["0 ms", "80 ms", "160 ms", "240 ms"]),
        (1.0, ["0 ms", "300 ms", "600 ms", "900 ms"]),
        (16.8, ["0 ms", "5.0 s", "10.0 s", "15.0 s"]),
        (130.0, ["0 ms", "60.0 s", "2 min 0 s"]),
        (12_345.0, ["0 ms", "1 h 0 min", "2 h 0 min", "3 h 0 min"]),
    ],
)
def test_the_scale_has_a_few_round_times(span, labels):
    assert [tick.label for tick in drawn([task(ended=span, duration=span)]).ticks] == labels


@pytest.mark.parametrize("power", range(-2, 6))
def test_every_scale_has_three_to_five_ticks(power):
    for factor in (1, 1.01, 2.3, 3.7, 5, 7.77, 9.99):
        span = factor * 10.0**power
        ticks = drawn([task(ended=span, duration=span)]).ticks
        assert 3 <= len(ticks) <= 5
        assert ticks[-1].x <= 100
        assert all(one.x < next_one.x for one, next_one in pairwise(ticks))
