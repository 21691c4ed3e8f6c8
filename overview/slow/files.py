"""The tables as files: all rows, with numbers that a spreadsheet can reckon with."""

from conversations.exports.lines import Column, Kind
from conversations.exports.tables import Row

from . import tables
from .reading import Calls
from .tables import shown


def columns(kind: tables.Kind) -> list[Column]:
    numbers = ["calls", "failures", "failure_rate", "timed_calls", "median_seconds", "p95_seconds"]
    if kind.filter == "model":
        numbers += ["tokens", "cost", "calls_without_price"]
    return [Column(kind.one, Kind.TEXT), *(Column(name, Kind.PLAIN) for name in numbers)]


def values(kind: tables.Kind, name: str, found: Calls) -> Row:
    numbers = [found.number, found.failed, found.failure_rate, found.timed]
    numbers += [found.seconds(50), found.seconds(95)]
    if kind.filter == "model":
        money = found.money
        numbers += [found.tokens, money and money.amount, money and money.unpriced]
    return [shown(name), *numbers]
