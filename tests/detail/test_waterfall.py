import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from django.template.loader import render_to_string
from django.urls import reverse

from backoffice.words import seconds
from conversations.detail.tasks import nested
from conversations.detail.waterfall import (
    BARS,
    HEADER,
    LEFTWARDS,
    RIGHTWARDS,
    ROW,
    SHORTEST_BAR,
    TRACK_END,
    TRACK_START,
    waterfall,
)
from conversations.models import Run, Task

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SESSION = uuid.UUID(int=7)
TRACK = TRACK_END - TRACK_START


def task(name="step", ended=0.0, duration=0.0, *, depth=0, failed=False, **fields):
    """A task that ended so many seconds after noon, not saved."""
    fields = {"node_type": "llm", "created_at": NOON + timedelta(seconds=ended), **fields}
    made = Task(name=name, duration_seconds=duration, **fields)
    made.depth, made.failed = depth, failed
    return made


def places(tasks):
    return [(bar.x, bar.width) for bar in waterfall(tasks).bars]


def near(x, width):
    return pytest.approx((x, width), abs=0.06)


def render(tasks):
    return render_to_string(
        "conversations/detail/_waterfall.html",
        {"waterfall": waterfall(tasks), "session_id": SESSION},
    )


def titles(html):
    found = re.findall(r"<title>(.*?)</title>", html, flags=re.S)
    return [re.sub("[\u2068\u2069]", "", unescape(title)) for title in found]


# Places


def test_no_tasks_make_no_waterfall():
    assert waterfall([]) is None


def test_a_task_starts_its_duration_before_it_was_written():
    # 0 to 2, 2 to 6 beside 3 to 8, and 8 to 10, of 10 seconds.
    tasks = [task(ended=2, duration=2.0), task(ended=6, duration=4.0)]
    tasks += [task(ended=8, duration=5.0), task(ended=10, duration=2.0)]
    fifth = TRACK / 5
    assert waterfall(tasks).span == 10
    assert places(tasks) == [
        near(TRACK_START, fifth),
        near(TRACK_START + fifth, 2 * fifth),
        near(TRACK_START + 1.5 * fifth, 2.5 * fifth),
        near(TRACK_START + 4 * fifth, fifth),
    ]


def test_time_begins_with_the_earliest_start_not_the_first_row():
    # The caller is written last, though it started first: 0 to 10, its calls 1 to 2 and 4 to 9.
    tasks = [task(ended=2, duration=1.0), task(ended=9, duration=5.0)]
    tasks.append(task(ended=10, duration=10.0))
    assert places(tasks) == [
        near(TRACK_START + TRACK / 10, TRACK / 10),
        near(TRACK_START + TRACK * 4 / 10, TRACK / 2),
        near(TRACK_START, TRACK),
    ]


def test_calls_stand_under_their_caller_and_further_in():
    tasks = [
        task("agent", 10, 10.0),
        task("classify", 1, 1.0),
        task("search", 4, 1.0, parent_task_name="agent"),
        task("look", 3, 1.0, parent_task_name="search"),
    ]
    bars = waterfall(nested(tasks)).bars
    assert [bar.name for bar in bars] == ["agent", "search", "look", "classify"]
    outer, call, inner, beside = (bar.indent for bar in bars)
    assert outer == beside < call < inner
    assert [bar.y for bar in bars] == [HEADER + ROW * row for row in range(4)]


def test_calls_a_hundred_deep_stay_in_the_column_of_names():
    [bar] = waterfall([task("deep", depth=100)]).bars
    assert bar.indent < TRACK_START / 2
    assert bar.name == "deep"


def test_a_short_task_stays_visible_and_inside():
    bars = waterfall([task(ended=5000, duration=5000.0), task(ended=5000, duration=0.001)]).bars
    assert bars[1].width == SHORTEST_BAR
    assert bars[1].x + bars[1].width == TRACK_END


def test_a_hundred_bars_are_drawn_and_the_rest_counted():
    tasks = [task(f"step-{n}", n, 1.0) for n in range(BARS)]
    assert waterfall(tasks).left_out == 0
    for late in (task("late", 9000, 1.0), task("later", 9999, 1.0)):
        # Only what is drawn need be known to have failed.
        del late.failed
        tasks.append(late)
    made = waterfall(tasks)
    assert (len(made.bars), made.left_out, made.span) == (100, 2, 100)
    assert "the first 100 of 102 tasks" in render(tasks)


# Odd times


@pytest.mark.parametrize(
    "duration", [None, float("nan"), float("inf"), float("-inf"), -5.0, -1e308, 0.0]
)
def test_a_duration_that_cannot_be_true_makes_a_moment(duration):
    tasks = [task(ended=1, duration=1.0), task(ended=2, duration=duration), task(ended=4)]
    made = waterfall(tasks)
    assert made.span == 4
    assert places(tasks)[1] == near(TRACK_START + TRACK / 2, SHORTEST_BAR)


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), float("-inf"), -5.0])
def test_a_duration_that_cannot_be_true_is_said_to_be_so(duration):
    html = render([task(ended=1, duration=1.0), task(ended=2, duration=duration)])
    assert '<text class="duration" x="994" y="16.5">clock differs</text>' in html
    assert html.count('class="model off"') == 1
    assert titles(html)[1].startswith(f"step, llm, {seconds(duration)}, starts at 2.0 s")
    assert html.count("clock differs") == 2


def run(duration=10.0, lasted=10.0, **fields):
    times = {"created_at": NOON, "updated_at": NOON + timedelta(seconds=lasted)}
    return Run(duration_seconds=duration, **{**times, **fields})


STEPS = [task("one", 4, 4.0), task("two", 9, 5.0), task("three", 10, 1.0)]
DAY = 86_400


@pytest.mark.parametrize(
    ("wrong", "starts", "arrow", "at_the_left"),
    [
        (task(ended=DAY, duration=2.0), "23 h 59 min", RIGHTWARDS, False),
        (task(ended=-DAY, duration=2.0), "−24 h 0 min", LEFTWARDS, True),
        (task(ended=5, duration=1e9), "−1e+09 s", LEFTWARDS, True),
        (task(ended=1e9, duration=1.7e308), "−1.7e+308 s", LEFTWARDS + RIGHTWARDS, True),
        (task(ended=14, duration=1.0), "13.0 s", RIGHTWARDS, False),
        (task(created_at=datetime.max.replace(tzinfo=UTC)), "2.52e+11 s", RIGHTWARDS, False),
    ],
)
@pytest.mark.parametrize("place", range(4))
def test_a_step_outside_its_run_does_not_stretch_the_scale(
    wrong, starts, arrow, at_the_left, place
):
    steps = [*STEPS[:place], wrong, *STEPS[place:]]
    made, plain = waterfall(steps, run()), waterfall(STEPS, run())
    assert (made.span, made.ticks) == (plain.span, plain.ticks) == (10, plain.ticks)
    bar = made.bars.pop(place)
    assert [replace(each, y=0) for each in made.bars] == [replace(each, y=0) for each in plain.bars]
    assert (bar.is_off, bar.duration, bar.beyond) == (True, "clock differs", arrow)
    assert f"starts at {starts}, clock differs" in bar.title
    assert (bar.x == TRACK_START) == at_the_left
    assert bar.x + bar.width <= TRACK_END


def test_steps_of_a_healthy_run_are_inside():
    """The runtime writes a step a little later than it ends, and perhaps after its run's end."""
    bars = waterfall([*STEPS, task(ended=10.9, duration=0.1)], run()).bars
    assert not any(bar.is_off or bar.beyond for bar in bars)


@pytest.mark.parametrize("lasted", [-10.0, 0.0, 10.0])
def test_steps_of_a_run_without_a_duration(lasted):
    """It goes on, was interrupted, or an old runtime wrote it."""
    slow = [*STEPS, task(ended=10 + 7200, duration=7200.0), task(ended=7500, duration=None)]
    steps = [*slow, task(ended=7 * DAY, duration=1.0), task(ended=20, duration=1e9)]
    made = waterfall(steps, run(None, lasted))
    assert made.span == 7500
    assert [bar.is_off for bar in made.bars] == [False] * 5 + [True] * 2


def test_when_all_steps_lie_outside_they_are_shown_beside_each_other():
    made = waterfall(STEPS, run(created_at=NOON - timedelta(days=1)))
    assert made.span == 10
    assert [(bar.x, bar.width) for bar in made.bars] == places(STEPS)
    assert {bar.duration for bar in made.bars} == {"clock differs"}


def test_tasks_without_durations_stand_where_they_ended():
    tasks = [task(ended=second, duration=None) for second in (0, 5, 10)]
    assert places(tasks) == [
        near(TRACK_START, SHORTEST_BAR),
        near(TRACK_START + TRACK / 2, SHORTEST_BAR),
        near(TRACK_END - SHORTEST_BAR, SHORTEST_BAR),
    ]
    assert titles(render(tasks))[1] == "step, llm, duration unknown, starts at 5.0 s"


@pytest.mark.parametrize("duration", [None, 0.0, 1e-12])
def test_tasks_that_took_no_time_all_begin_at_the_left(duration):
    made = waterfall([task(duration=duration)] * 3)
    assert {bar.x for bar in made.bars} == {TRACK_START}
    assert [tick.label for tick in made.ticks] == ["0 ms"]


@pytest.mark.parametrize("duration", [1e9, 1e15, 1.7e308])
@pytest.mark.parametrize(
    "moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
)
def test_times_beyond_the_calendar_stay_inside(moment, duration):
    tasks = [task(), task(duration=duration, created_at=moment), task(duration=duration)]
    for some in (tasks, tasks[1:2], tasks[::-1]):
        for x, width in places(some):
            assert x >= TRACK_START
            assert width >= SHORTEST_BAR
            assert x + width <= TRACK_END + 0.1
        assert "nan" not in render(some)


@pytest.mark.parametrize(
    ("span", "labels"),
    [
        (0.0004, ["0 ms"]),
        (0.0035, ["0 ms", "1 ms", "2 ms", "3 ms"]),
        (0.282, ["0 ms", "80 ms", "160 ms", "240 ms"]),
        (1.0, ["0 ms", "200 ms", "400 ms", "600 ms", "800 ms", "1.0 s"]),
        (16.8, ["0 ms", "4.0 s", "8.0 s", "12.0 s", "16.0 s"]),
        (130.0, ["0 ms", "30.0 s", "60.0 s", "90.0 s", "2 min 0 s"]),
        (12_345.0, ["0 ms", "1 h 0 min", "2 h 0 min", "3 h 0 min"]),
    ],
)
def test_the_scale_has_a_few_round_times(span, labels):
    assert [tick.label for tick in waterfall([task(duration=span)]).ticks] == labels


@pytest.mark.parametrize("power", range(-2, 12))
def test_no_scale_is_bare_or_crowded(power):
    for factor in (1, 1.01, 2.3, 3.7, 5, 7.77, 9.99):
        ticks = waterfall([task(duration=factor * 10.0**power)]).ticks
        assert 3 <= len(ticks) <= 6
        assert ticks[-1].x <= TRACK_END
        assert all(one.x < next_one.x for one, next_one in pairwise(ticks))


# The drawing


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></svg><b>out</b>",
    "{{ bar.pk }}{% now 'Y' %}",
    "&lt;already&gt;",
    "a\nb\tc",
    "\u202eturned",
    "\x01\x1b[31m",
    "漢字かな",
]


@pytest.mark.parametrize("field", ["name", "node_type"])
@pytest.mark.parametrize("words", HOSTILE)
def test_names_stay_text(words, field):
    html = render([task(**{field: words})])
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>out" not in html
    assert html.count("</svg>") == 2
    [title] = titles(html)
    assert " ".join(words.split()) in title


def test_a_name_that_turns_the_text_ends_within_its_title():
    [bar] = waterfall([task("\u202eturned", duration=1.0, node_type=None)]).bars
    assert bar.title == "\u2068\u202eturned\u2069, 1.0 s, starts at 0 ms"


@pytest.mark.parametrize(
    ("name", "longest"),
    [("W" * 100_000, 31), ("w " * 5000, 31), ("漢" * 5000, 16), ("👩‍👩‍👧" * 900, 31)],
)
def test_a_long_name_is_cut_with_an_ellipsis(name, longest):
    html = render([task(name, node_type=name)])
    [bar] = waterfall([task(name, node_type=name)]).bars
    assert bar.name.endswith("…")
    assert len(bar.name) <= longest
    assert bar.kind == ""
    assert len(html) < 4000


@pytest.mark.parametrize("name", [None, "", "  \n"])
def test_a_task_without_a_name_says_so(name):
    html = render([task(name, node_type=name, duration=1.0)])
    assert '<tspan class="name">(no name)</tspan></text>' in html
    assert titles(html) == ["(no name), 1.0 s, starts at 0 ms"]


def test_each_bar_is_a_link_that_says_everything():
    tasks = [
        task("classify", 1.5, 1.5, pk=uuid.UUID(int=1)),
        task("search", 2.7, 1.2, pk=uuid.UUID(int=2), node_type="tool_call", failed=True),
    ]
    html = render(tasks)
    for one in tasks:
        path = reverse("conversations:task", args=[SESSION, one.pk])
        assert html.count(f'<a href="{path}"') == 1
    assert titles(html) == [
        "classify, llm, 1.5 s, starts at 0 ms",
        "search, tool_call, 1.2 s, starts at 1.5 s, failed",
    ]
    assert "2 tasks, 2.7 s" in html


def test_a_failed_task_has_a_sign_besides_its_colour():
    fine, failed = render([task("x")]), render([task("x", failed=True)])
    assert 'class="mark"' not in fine
    assert failed.count('class="mark"') == 1
    assert 'class="model failed"' in failed


def test_the_drawing_is_whole_and_has_no_ids_styles_or_scripts():
    html = render([task(ended=n, duration=1.0, failed=True, depth=n) for n in range(3)])
    figure = ElementTree.fromstring(html.strip())
    assert figure.tag == "figure"
    names = {name for element in figure.iter() for name in element.attrib}
    assert not names & {"id", "style"}
    assert not [name for name in names if name.startswith("on")]
    svg = figure.find(".//svg")
    assert svg.get("viewBox") == f"0 0 1000 {HEADER + 3 * ROW}"
    assert [child.get("role") for child in svg if not child.get("aria-hidden")] == ["listitem"] * 3
