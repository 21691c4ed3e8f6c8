"""Parses a request for a file, by the site or the command."""

from privacy.personal_data import mask, mask_json

from ..models import Session
from ..selection.filters import ConversationFilter
from .lines import Column, Kind

# Parameters that name a place in the list: a file is all of it.
PLACES = ("after", "since")


def masked(column: Column, text: str) -> str:
    return mask_json(text) if column.kind is Kind.JSON else mask(text)


def parse(data, name: str) -> tuple[ConversationFilter, bool, str]:
    """(the filters, whether payloads are asked for, what is invalid)"""
    data = data.copy()
    payloads = data.pop("payloads", [])
    filters = ConversationFilter(data, queryset=Session.objects.all())
    problems = [
        f"{filters.form.fields[field].label}: {error}" if field in filters.form.fields else error
        for field, found in filters.form.errors.items()
        for error in found
    ]
    problems += [f"A file cannot begin at “{place}”." for place in PLACES if place in data]
    if payloads and (name != "tasks" or payloads != ["1"]):
        problems.append("Only tasks have payloads: use payloads=1 with tasks.")
    return filters, bool(payloads), " ".join(problems)
