"""Adds the texts that rows of the list show besides their summaries."""

from ..models import Session, labelled
from ..problems import outcomes
from ..selection.filters import ConversationFilter
from ..summaries import histories
from .newest_problems import newest_problems
from .snippets import marked_in_previews, named_by, snippets


def add_texts(rows: list[Session], filters: ConversationFilter):
    """Add the newest problem, outcome and snippets to summaries(). The filters must be valid."""
    words = newest_problems(rows, filters)
    runs = histories([row for row in rows if row.problems])
    query = filters.query()
    text, found = filters.form.cleaned_data.get("search") or "", {}
    if rows and text:
        everywhere = filters.form.cleaned_data["scope"] == "all"
        found = snippets([row.pk for row in rows], text, everywhere, query)
    labels = filters.agent_labels if rows else {}
    for row in rows:
        # This needs no query: the filter has read all agents anyway.
        named = labelled(row.agent_name, None)
        row.has_namesake = labels.get(row.agent_id, named) != named
        row.newest_problem = words.get(row.pk, "")
        row.outcome = outcomes.outcome_of(runs.get(row.pk, ""))
        row.snippets = []
        if text:
            passages = marked_in_previews(row, found.get(row.pk, []), text)
            row.snippets = [*named_by(row, filters.named, text, query), *passages]
