"""Figures as people read them."""

from decimal import ROUND_HALF_UP, Decimal

from backoffice.words import dollars, seconds

from .figures import Figures
from .usage import Money

NONE = "–"
CENT = Decimal("0.01")


def in_dollars(amount: Decimal) -> str:
    """To the cent from a dollar on: $1.16, $0.0053, $0."""
    if not amount:
        return "$0"
    return f"${amount.quantize(CENT, ROUND_HALF_UP):,}" if amount >= 1 else dollars(amount)


def percent_words(part: int, whole: int) -> str:
    """4%, or < 1%; – of nothing"""
    if not whole:
        return NONE
    percent = round(100 * part / whole)
    return "< 1%" if part and not percent else f"{percent}%"


def money_words(money: Money | None) -> str:
    """$1.16, at least $1.16, or n/a"""
    if money is None or (money.at_least and not money.amount):
        return "n/a"
    return f"at least {in_dollars(money.amount)}" if money.at_least else in_dollars(money.amount)


def whole_money(money: Money | None) -> str:
    """at least $1.16 (35 of 400 calls have no price)"""
    note = money_note(money)
    return f"{money_words(money)} ({note})" if note else money_words(money)


def money_note(money: Money | None) -> str:
    """Why it is "at least" so much, or not known; empty otherwise."""
    if money is None:
        return "no price list is installed"
    if money.unpriced:
        have = "has" if money.unpriced == 1 else "have"
        return f"{money.unpriced:,} of {money.calls:,} calls {have} no price"
    return "writing to a cache may have cost more" if money.is_cache_unclear else ""


def seconds_words(figures: Figures, percent: int) -> str:
    found = figures.seconds(percent)
    return NONE if found is None else seconds(found)


def answers_note(figures: Figures) -> str:
    return f"of {figures.answers:,} answer{'' if figures.answers == 1 else 's'}"
