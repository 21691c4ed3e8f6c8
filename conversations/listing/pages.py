"""The numbers of a page's rows, the cursors of its neighbours, and how many rows have moved."""

from dataclasses import dataclass, replace

from ..selection.matching import Matching
from ..selection.pagination import HIGHEST_ID, Cursor
from . import open_page


@dataclass(frozen=True)
class Position:
    """The numbers of a page's first and last row."""

    first: int
    last: int


def position(cursor: Cursor | None, shown: int) -> Position | None:
    """None if there are no rows, or if the cursor has no number."""
    above = cursor.number if cursor else 0
    return None if above is None or not shown else Position(above + 1, above + shown)


def next_cursor(cursor: Cursor | None, end: Cursor | None, places: list[Cursor]) -> Cursor | None:
    """
    The cursor of the older page, which begins at `end`. `places` are the rows of this page; those
    behind `end`, whose ids were searched for, get their numbers on the page that reaches them.
    """
    if end is None or (cursor and cursor.number is None):
        return end
    until = (end.updated_at, end.id)
    number = sum((place.updated_at, place.id) >= until for place in places)
    if cursor:
        return replace(end, number=cursor.number + number, numbered=cursor.numbered)
    return replace(end, number=number, numbered=places[0].updated_at if places else None)


def newer_cursor(cursor: Cursor, above: list[Cursor], page_size: int) -> Cursor | None:
    """
    The cursor of the page that ends at `cursor`, or None for the newest page. `above` is what
    find.newer_page() returned for `cursor`.
    """
    if len(above) <= page_size:
        return None
    # If many rows have come in since, the numbers would fall below zero. Then do without them.
    if cursor.number is None or cursor.number < page_size:
        return above[page_size]
    number = cursor.number - page_size
    return replace(above[page_size], number=number, numbered=cursor.numbered)


def moved(matching: Matching, cursor: Cursor | None) -> int:
    """How many conversations came in or moved up since the rows were numbered, up to UP_TO + 1."""
    if cursor is None or cursor.numbered is None:
        return 0
    return len(open_page.newer(matching, Cursor(cursor.numbered, HIGHEST_ID)))
