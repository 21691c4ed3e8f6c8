"""How the command agent_indexes describes a build."""

from django.db import DatabaseError
from django.template.defaultfilters import filesizeformat

from .state import State


def one_line(error: DatabaseError) -> str:
    return str(error).strip().splitlines()[0]


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def size(state: State) -> str:
    if state.size is None:
        return "on the workers"
    return filesizeformat(state.size).replace("\xa0", " ")


def progress(blocking: list[int], phase: str | None, *amounts: int) -> str:
    """`amounts`: blocks done and total, tuples done and total. Not every phase counts them."""
    if blocking:
        processes = ", ".join(str(pid) for pid in blocking)
        return f"waiting for older transactions to end (process {processes})"
    if phase is None:
        return "in progress"
    counts = {"scanning": amounts[:2], "loading": amounts[2:]}
    done, total = next((counts[word] for word in counts if word in phase), (0, 0))
    return f"{phase}, {done * 100 // total}%" if total else phase
