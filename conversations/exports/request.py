"""Parses a request for a file, by the site or the command."""

from dataclasses import dataclass

from privacy.personal_data import mask, mask_json

from ..models import Session
from ..selection.filters import ConversationFilter
from .lines import SEPARATORS, Column, Kind

# Parameters that name a place in the list: a file is all of it.
PLACES = ("after", "since")


def masked(column: Column, text: str) -> str:
    return mask_json(text) if column.kind is Kind.JSON else mask(text)


@dataclass(frozen=True)
class Asked:
    """What is asked for; `problem` says what of it is invalid."""

    filters: ConversationFilter
    payloads: bool
    separator: str
    problem: str


def parse(data, name: str, form: str) -> Asked:
    data = data.copy()
    payloads = data.pop("payloads", [])
    separators = data.pop("separator", [])
    filters = ConversationFilter(data, queryset=Session.objects.all())
    problems = [
        f"{filters.form.fields[field].label}: {error}" if field in filters.form.fields else error
        for field, found in filters.form.errors.items()
        for error in found
    ]
    problems += [f"A file cannot begin at “{place}”." for place in PLACES if place in data]
    if payloads and (name != "tasks" or payloads != ["1"]):
        problems.append("Only tasks have payloads: use payloads=1 with tasks.")
    if separators and form != "csv":
        problems.append("Only CSV has a separator.")
    elif separators and (len(separators) > 1 or separators[0] not in SEPARATORS):
        problems.append("A separator is one of comma, semicolon and tab.")
    separator = separators[0] if separators else "comma"
    return Asked(filters, bool(payloads), separator, " ".join(problems))
