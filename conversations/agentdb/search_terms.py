"""What a search looks for: words in any order, and phrases in quotes, in normal form."""

import re
from functools import lru_cache

from .normal_form import normalised, without_lowering

# A quote begins a phrase at the start of a word, and ends it at the end of one; any other is a
# character like all others.
TERM = re.compile(r'(?<!\S)"(?=[^"]*[^"\s])([^"]+)"(?!\S)|(\S+)')


class Term(str):
    """A word or phrase in normal form."""

    # What it is where the database lowers ASCII alone, and where it is not UTF8.
    unlowered: str
    typed: str

    @classmethod
    def of(cls, normal: str, unlowered: str, typed: str) -> "Term":
        term = cls(normal)
        term.unlowered, term.typed = unlowered, typed
        return term


@lru_cache(maxsize=100)
def terms(search: str) -> tuple[Term, ...]:
    """Each once, in the order typed, without those that another one holds."""
    normal, unlowered, typed = (
        parts(form) for form in (normalised(search), without_lowering(search), search)
    )
    # Curly quotes make phrases in the normal form alone.
    typed = typed if len(typed) == len(normal) else unlowered
    found = [*map(Term.of, normal, unlowered, typed)]
    return tuple(
        term
        for place, term in enumerate(found)
        if not any(
            term in other and (term != other or earlier < place)
            for earlier, other in enumerate(found)
            if earlier != place
        )
    )


def whole(search: str) -> Term:
    """All that was typed, as one term."""
    return Term.of(normalised(search).strip(), without_lowering(search).strip(), search.strip())


def parts(normal: str) -> list[str]:
    return [phrase or word for phrase, word in TERM.findall(normal)]
