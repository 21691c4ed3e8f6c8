"""Percentiles from bins against PostgreSQL's percentile_disc, and against plain lists."""

import random
from collections import Counter

import pytest
from django.db import connections

from overview.percentiles import NONE, bin_of, bin_sql, percentile, rank, seconds_of

PERCENTS = (1, 50, 90, 95, 99, 100)


def bins_of(values: list[int]) -> dict[str, int]:
    return dict(Counter(str(bin_of(each)) for each in values))


def durations(count: int) -> list[int]:
    """Microseconds, from some thousandths of a second to hours."""
    chance = random.Random(count)
    return [round(chance.lognormvariate(14, 3)) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 5, 37, 20_000])
@pytest.mark.django_db
def test_each_percentile_is_within_half_a_percent_of_the_nearest_rank(count):
    values = durations(count)
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT percentile_disc(%s::float8[]) WITHIN GROUP (ORDER BY value)"
            " FROM unnest(%s::bigint[]) AS value",
            [[percent / 100 for percent in PERCENTS], values],
        )
        [expected] = cursor.fetchone()
    for percent, microseconds in zip(PERCENTS, expected, strict=True):
        found = percentile(bins_of(values), percent)
        assert found == pytest.approx(microseconds / 1_000_000, rel=0.005 + 1e-9)
        assert sorted(values)[rank(count, percent) - 1] == microseconds


def test_the_rank_counts_from_one_without_rounding_errors():
    assert [rank(count, 50) for count in (1, 2, 3, 4, 5)] == [1, 1, 2, 2, 3]
    assert [rank(count, 95) for count in (1, 19, 20, 21, 100, 20_000)] == [1, 19, 19, 20, 95, 19000]


def test_nothing_has_no_percentile_and_no_time_at_all_is_zero():
    assert percentile({}, 50) is None
    assert percentile({str(NONE): 2, "100": 1}, 50) == 0
    assert seconds_of(bin_of(0)) == 0


@pytest.mark.django_db
def test_sql_and_python_choose_the_same_bin():
    values = [0, 1, 2, 3, 999, 1_000_000, 10**15, *durations(2_000)]
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SELECT {bin_sql('value')} FROM unnest(%s::bigint[]) AS value", [values])
        found = [number for (number,) in cursor.fetchall()]
    assert found == [bin_of(each) for each in values]
