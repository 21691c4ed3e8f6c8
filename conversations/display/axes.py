"""Round steps for the axes of charts."""

import math

DECIMAL_STEPS = (1, 2, 3, 4, 5, 8, 10)
# Steps that read well on a clock, in seconds; shorter and longer ones are decimal.
CLOCK_STEPS = (
    15,
    30,
    60,
    120,
    180,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10_800,
    21_600,
    43_200,
    86_400,
)
SHORTEST_SECONDS = 0.001


def decimal_step(least: float) -> float:
    """The shortest round number that is at least as large."""
    power = 10.0 ** math.floor(math.log10(least))
    # The tolerance: n times a power of ten may round to slightly less than it should.
    return next(n * power for n in DECIMAL_STEPS if n * power >= least * (1 - 1e-9))


def seconds_step(least: float) -> float:
    """The same for a number of seconds, which reads well on a clock."""
    least = max(least, SHORTEST_SECONDS)
    if CLOCK_STEPS[0] / 2 < least <= CLOCK_STEPS[-1]:
        return next(step for step in CLOCK_STEPS if step >= least)
    return decimal_step(least)


def count_step(least: float) -> float:
    """The same for a number of things: a whole one."""
    return decimal_step(max(least, 1))


def short_count(number: float) -> str:
    """9,000, 60k or 1.5M: for an axis, whose numbers are round."""
    if number < 10_000:
        return f"{number:,.0f}"
    thousands = number / 1_000
    return f"{thousands:g}k" if thousands < 1_000 else f"{thousands / 1_000:,g}M"
