"""How money and percentiles are worded."""

from decimal import Decimal

import pytest

from overview.figures import Figures
from overview.usage import Money
from overview.words import answers_note, money_note, money_words, seconds_words, whole_money


@pytest.mark.parametrize(
    ("money", "words", "note"),
    [
        (Money(Decimal("1.16"), 400, 35), "at least $1.16", "35 of 400 calls have no price"),
        (Money(Decimal("1.16"), 400, 1), "at least $1.16", "1 of 400 calls has no price"),
        (Money(Decimal("1204.5"), 9), "$1,204.50", ""),
        (Money(Decimal("0.0053"), 9), "$0.0053", ""),
        (Money(Decimal(0), 9, 9), "n/a", "9 of 9 calls have no price"),
        (Money(), "$0", ""),
        (
            Money(Decimal(2), 9, is_cache_unclear=True),
            "at least $2.00",
            "writing to a cache may have cost more",
        ),
        (None, "n/a", "no price list is installed"),
    ],
)
def test_money_says_what_is_missing(money, words, note):
    assert (money_words(money), money_note(money)) == (words, note)


def test_in_one_line_it_reads_as_agreed():
    found = whole_money(Money(Decimal("1.16"), 400, 35))
    assert found == "at least $1.16 (35 of 400 calls have no price)"
    assert whole_money(Money(Decimal("1.16"), 400)) == "$1.16"


def test_a_percentile_says_of_how_many():
    found = Figures()
    assert (seconds_words(found, 50), answers_note(found)) == ("–", "of 0 answers")
    found.answer_bins["1382"] += 1
    assert answers_note(found) == "of 1 answer"
    assert seconds_words(found, 95).endswith(" s")
    found.answer_bins["1382"] += 18
    assert found.has_few_answers
    found.answer_bins["1382"] += 1
    assert not found.has_few_answers
