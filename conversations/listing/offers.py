"""Links to wider searches, for a search that found nothing."""

from dataclasses import dataclass

from backoffice.words import external_id_label
from privacy import masking

from ..agentdb.search_terms import terms, whole
from ..selection.filters import ConversationFilter
from ..selection.forms import DATES
from ..selection.named import SHORTEST_BEGINNING

# If a search has more words than this, leaving out one of them hardly helps.
MOST_WORDS = 5


@dataclass(frozen=True)
class Offer:
    label: str
    query: str  # The list's query string.


def offers(filters: ConversationFilter) -> list[Offer]:
    search = filters.data.get("search")
    return [] if not search or not filters.is_valid() else [*wider(filters, search)]


def wider(filters: ConversationFilter, search: str):
    given = {name for name, value in filters.form.cleaned_data.items() if value}
    if "scope" not in given:
        yield Offer("Search errors and tools too", filters.query(scope="all"))
    words = terms(search)
    if any(" " in word for word in words):
        separate = " ".join(word for term in words for word in term.split())
        yield Offer("Search without the quotes", filters.query(search=separate))
    for left_out in words if 1 < len(words) <= MOST_WORDS else ():
        rest = " ".join(quoted(word) for word in words if word != left_out)
        yield Offer(f"Leave out “{left_out}”", filters.query(search=rest))
    if given.intersection(DATES):
        yield Offer("Search at any date", filters.query(*DATES))
    others = given - {"search", "scope", "evals", "tz", *DATES}
    if others:
        yield Offer("Search without the other filters", filters.query(*others))
    # Searches that are long enough already look for external ids. People who do not see personal
    # data can only find whole external ids.
    short = len(whole(search)) < SHORTEST_BEGINNING
    if "external_id" not in given and short and not masking.is_active():
        label = f"{external_id_label()} that begins with “{search.strip()}”"
        yield Offer(label, filters.query("search", "scope", external_id=search.strip()))


def quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word
