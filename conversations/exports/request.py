"""Parses a request for an export, from the site or the command."""

from dataclasses import dataclass
from typing import Any

from privacy.personal_data import mask, mask_json

from ..models import Session
from ..selection.filters import ConversationFilter
from ..selection.model_calls import ModelCallFilter
from .lines import SEPARATORS, Column, Kind

# Parameters for a position in the list: a file always has the whole list.
PLACES = ("after", "before", "since")


def masked(column: Column, text: str) -> str:
    return mask_json(text) if column.kind is Kind.JSON else mask(text)


@dataclass(frozen=True)
class ExportRequest:
    """What to export; `problem` says which parameters are invalid."""

    # A ConversationFilter or a ModelCallFilter.
    filters: Any
    payloads: bool
    separator: str
    problem: str


def parse(data, name: str, form: str) -> ExportRequest:
    data = data.copy()
    payloads = data.pop("payloads", [])
    separators = data.pop("separator", [])
    filters = ConversationFilter(data, queryset=Session.objects.all())
    problems = problems_of(filters)
    if payloads and (name != "tasks" or payloads != ["1"]):
        problems.append("Only tasks have payloads: use payloads=1 with tasks.")
    separator, wrong = chosen_separator(separators, form)
    return ExportRequest(filters, bool(payloads), separator, " ".join(problems + wrong))


def parse_model_calls(data, form: str) -> ExportRequest:
    data = data.copy()
    separator, wrong = chosen_separator(data.pop("separator", []), form)
    filters = ModelCallFilter(data)
    return ExportRequest(filters, False, separator, " ".join(problems_of(filters) + wrong))


def problems_of(filters: ConversationFilter | ModelCallFilter) -> list[str]:
    found = [
        f"{filters.form.fields[field].label}: {error}" if field in filters.form.fields else error
        for field, errors in filters.form.errors.items()
        for error in errors
    ]
    places = [place for place in PLACES if place in filters.data]
    return found + [f"A file cannot start at “{place}”." for place in places]


def chosen_separator(given: list[str], form: str) -> tuple[str, list[str]]:
    """(one of SEPARATORS, what is wrong with what was given)"""
    if not given:
        return "comma", []
    if form != "csv":
        return "comma", ["Only CSV has a separator."]
    if len(given) > 1 or given[0] not in SEPARATORS:
        return "comma", ["The separator must be comma, semicolon or tab."]
    return given[0], []
