"""A chart over time: its axis, what is drawn, and what is said in words."""

import re
from itertools import pairwise

import pytest
from django.template.loader import render_to_string

from conversations.display.axes import count_step, decimal_step, seconds_step, short_count
from conversations.display.time_charts import GROUND, START, TOP, WIDTH, Point, TimeChart


def point(*numbers, label="Sat 28 Nov", **fields):
    words = ["" if number is None else f"{number:,}" for number in numbers]
    return Point(label, label[4:], numbers, words, **fields)


def chart(*points, measures=("conversations",), **fields):
    return TimeChart("Conversations", measures, points, **fields)


def drawn(found: TimeChart) -> list[list[str]]:
    return [[piece.path for piece in slot.pieces] for slot in found.slots]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 9, 17, 25, 34, 99, 100, 101, 1234, 10**9])
def test_the_axis_has_few_round_steps_and_ends_above_the_highest(most):
    found = chart(point(most), point(0))
    assert 2 <= len(found.ticks) <= 5
    assert found.top >= most > found.top / 2
    assert len({round(one.y - other.y, 1) for one, other in pairwise(found.ticks)}) <= 2
    assert (found.ticks[0].y, found.ticks[0].label) == (GROUND, "0")
    assert (found.ticks[-1].y, found.ticks[-1].label) == (TOP, short_count(found.top))


def test_steps_read_well():
    assert [count_step(least) for least in (0.1, 1, 1.1, 6, 9, 45)] == [1, 1, 2, 8, 10, 50]
    steps = [seconds_step(least) for least in (0.0001, 0.3, 12, 40, 100)]
    assert steps == pytest.approx([0.001, 0.3, 15, 60, 120])
    assert decimal_step(0.00021) == pytest.approx(0.0003)


def test_numbers_of_an_axis_are_short():
    numbers = [0, 8, 9_000, 10_000, 1_500_000, 4_000_000_000]
    assert [short_count(each) for each in numbers] == ["0", "8", "9,000", "10k", "1.5M", "4,000M"]


def test_all_bars_have_one_scale():
    [low], [high] = drawn(chart(point(10), point(40)))
    heights = [float(re.search(r"v-([\d.]+)", path)[1]) for path in (low, high)]
    assert heights == [pytest.approx((GROUND - TOP) / 4, abs=0.1), GROUND - TOP]


def test_series_are_stacked():
    [[below, above]] = drawn(chart(point(30, 10), measures=("well", "badly")))
    assert f" {GROUND}.0v-" in below
    start = float(re.match(r"M[\d.]+ ([\d.]+)", above)[1])
    assert start == pytest.approx(GROUND - (GROUND - TOP) * 30 / 40, abs=0.1)


def test_nothing_is_drawn_of_zero_but_the_smallest_number_is_seen():
    found = chart(point(0), point(1), point(100_000))
    none, few, _ = drawn(found)
    assert none == []
    assert "v-2h" in few[0]
    # It still can be reached and says so.
    assert found.slots[0].title == "Sat 28 Nov – conversations: 0"


def test_a_range_has_a_gap_where_there_is_no_number():
    found = chart(
        point(2.5, 30),
        point(None, None, note="no answers"),
        measures=("median", "95th percentile"),
        is_range=True,
    )
    some, none = drawn(found)
    assert len(some) == 3
    assert none == []
    # Its measures say nothing, but why may be said.
    assert found.slots[1].title == "Sat 28 Nov – no answers"


def test_what_is_not_over_is_said_in_words_and_marked():
    found = chart(point(3), point(1, label="Sun 29 Nov", until="13:30"))
    assert found.slots[1].title == (
        "Sun 29 Nov – conversations: 1; not over yet, counted until 13:30"
    )
    html = render_to_string("conversations/display/_time_chart.html", {"chart": found, "id": "c"})
    assert "Sun 29 Nov is not over, counted until 13:30" in html
    assert html.count('<g role="listitem" class="open">') == 1


def test_a_chart_without_a_number_says_so():
    html = render_to_string(
        "conversations/display/_time_chart.html", {"chart": chart(point(0)), "id": "c"}
    )
    assert "Nothing in this period." in html
    assert 'role="list"' not in html


def test_the_table_behind_says_all_that_the_bars_say():
    points = [point(number, label=f"Sat {number} Nov", link=f"?n={number}") for number in (1, 2, 3)]
    html = render_to_string(
        "conversations/display/_time_chart.html", {"chart": chart(*points), "id": "c"}
    )
    table = html[html.index("<table>") :]
    for each in points:
        assert f'<a href="{each.link}">{each.label}</a></th><td>{each.words[0]}</td>' in table
        assert f"<title>{each.label} – conversations: {each.words[0]}</title>" in html


def test_labels_and_values_stay_within_the_width():
    found = chart(*(point(1) for _ in range(30)))
    assert [slot.anchor for slot in (found.slots[0], found.slots[15], found.slots[-1])] == [
        "start",
        "middle",
        "end",
    ]
    assert all(START <= slot.value_x <= WIDTH for slot in found.slots)
    labelled = [slot for slot in found.slots if slot.has_label]
    assert labelled[-1] is not None
    assert 4 <= len(labelled) <= 6
    assert not labelled[-1].is_minor


def test_hostile_words_stay_text():
    bad = "<script>alert(1)</script>"
    html = render_to_string(
        "conversations/display/_time_chart.html",
        {"chart": chart(Point(bad, bad, [1], [bad], bad), measures=[bad], legend=[bad]), "id": "c"},
    )
    assert "<script" not in html
