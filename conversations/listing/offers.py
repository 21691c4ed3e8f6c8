"""What would find more, for a search that found nothing."""

from dataclasses import dataclass

from backoffice.words import external_id_label
from privacy import masking

from ..agentdb.search_terms import terms, whole
from ..selection.filters import ConversationFilter
from ..selection.forms import DATES
from ..selection.named import SHORTEST_BEGINNING

# With more words, none of them is to blame.
MOST_WORDS = 5


@dataclass(frozen=True)
class Offer:
    label: str
    # The list's query string.
    query: str


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
        yield Offer("Take the words in quotes one by one", filters.query(search=separate))
    for left_out in words if 1 < len(words) <= MOST_WORDS else ():
        rest = " ".join(quoted(word) for word in words if word != left_out)
        yield Offer(f"Leave out “{left_out}”", filters.query(search=rest))
    if given.intersection(DATES):
        yield Offer("Search at any date", filters.query(*DATES))
    others = given - {"search", "scope", "evals", "tz", *DATES}
    if others:
        yield Offer("Search without the other filters", filters.query(*others))
    # Longer ones are looked for anyway. For people who see no personal data, only a whole external
    # id finds anything.
    short = len(whole(search)) < SHORTEST_BEGINNING
    if "external_id" not in given and short and not masking.is_active():
        label = f"{external_id_label()} that begins with “{search.strip()}”"
        yield Offer(label, filters.query("search", "scope", external_id=search.strip()))


def quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word
