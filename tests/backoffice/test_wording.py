from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from backoffice.words import dollars
from conversations.templatetags.desk import ago, seconds


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, ""),
        (0, "0 ms"),
        (0.0004, "< 1 ms"),
        (0.0126, "13 ms"),
        (0.9996, "1.0 s"),
        (4.25, "4.2 s"),
        (99.96, "1 min 40 s"),
        (3725, "1 h 2 min"),
        (1e12, "1e+12 s"),
        (-5.0, "clock differs (−5.0 s)"),
        (-1e-9, "clock differs (−< 1 ms)"),
        (-7200, "clock differs (−2 h 0 min)"),
        (float("nan"), "clock differs (NaN)"),
        (float("inf"), "clock differs (infinite)"),
        (float("-inf"), "clock differs (−infinite)"),
    ],
)
def test_durations_in_words(value, words):
    assert seconds(value) == words


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("0", "$0.0000"),
        ("0.0052647", "$0.0053"),
        ("0.00005", "< $0.0001"),
        ("0.000149", "$0.0001"),
        ("1204.5", "$1,204.5000"),
        ("0.00325", "$0.0033"),
    ],
)
def test_money_in_words(amount, words):
    assert dollars(Decimal(amount)) == words


@pytest.mark.parametrize(
    ("elapsed", "words"),
    [
        (timedelta(seconds=-30), ">just now<"),
        (timedelta(seconds=59), ">just now<"),
        (timedelta(minutes=5), "5\xa0minutes ago<"),
        (timedelta(days=15), "2\xa0weeks ago<"),
    ],
)
def test_times_in_words(elapsed, words):
    assert words in ago(timezone.now() - elapsed)


def test_a_time_in_the_future_is_not_just_now():
    shown = ago(timezone.now() + timedelta(days=400))
    assert "ago" not in shown
    assert "now" not in shown
