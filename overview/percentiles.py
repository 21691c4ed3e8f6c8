"""
Percentiles by nearest rank, as PostgreSQL's percentile_disc: the smallest value that at least so
large a share of all values does not exceed.

Durations are counted in logarithmic bins: what a bin stands for is within 0.5% of each value in it,
and so is every percentile, however few values there are. Bins add up; percentiles do not.
"""

import math
from collections.abc import Mapping

GAMMA = 1.005 / 0.995
# The bin of what rounds to no microsecond at all.
NONE = -1

# {number of the bin: how many values}; JSON has the numbers as text.
Bins = Mapping[str, int]
# What cells keep of durations: {"timed": how many, "microseconds": their sum, "bins": Bins},
# and nothing where there were none.


def bin_of(microseconds: int) -> int:
    return NONE if microseconds < 1 else math.ceil(math.log(microseconds) / math.log(GAMMA))


def bin_sql(microseconds: str) -> str:
    """The same in SQL."""
    bins = f"ceil(ln(({microseconds})::float8) / {math.log(GAMMA)!r})::integer"
    return f"CASE WHEN {microseconds} < 1 THEN {NONE} ELSE {bins} END"


def seconds_of(number: int) -> float:
    """What a bin stands for."""
    return 0.0 if number == NONE else 2 * GAMMA**number / (GAMMA + 1) / 1_000_000


def rank(count: int, percent: int) -> int:
    """The place of the percentile among sorted values, from 1 on."""
    return max(-(-count * percent // 100), 1)


def percentile(bins: Bins, percent: int) -> float | None:
    """Seconds; None if there is no value."""
    place = rank(sum(bins.values()), percent)
    for number, count in sorted((int(number), count) for number, count in bins.items()):
        place -= count
        if place <= 0:
            return seconds_of(number)
    return None
