"""Parses a search into words in any order and quoted phrases, in normal form."""

import re
from functools import lru_cache

from .normal_form import normalised, without_lowering

# A quote at the start of a word begins a phrase, and one at the end of a word ends it. Any other
# quote is an ordinary character.
TERM = re.compile(r'(?<!\S)"(?=[^"]*[^"\s])([^"]+)"(?!\S)|(\S+)')


class Term(str):
    """A word or phrase in normal form."""

    # The term where the database lowers only ASCII, and where its encoding is not UTF8.
    unlowered: str
    typed: str

    @classmethod
    def of(cls, normal: str, unlowered: str, typed: str) -> "Term":
        term = cls(normal)
        term.unlowered, term.typed = unlowered, typed
        return term


@lru_cache(maxsize=100)
def terms(search: str) -> tuple[Term, ...]:
    """The terms without repeats, in the order typed, except those that another term contains."""
    normal, unlowered, typed = (
        parts(form) for form in (normalised(search), without_lowering(search), search)
    )
    # Curly quotes make phrases only in the normal form.
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


@lru_cache(maxsize=100)
def whole(search: str) -> Term:
    """The whole search as one term."""
    return Term.of(normalised(search).strip(), without_lowering(search).strip(), search.strip())


def parts(normal: str) -> list[str]:
    return [phrase or word for phrase, word in TERM.findall(normal)]
