"""Writes the results as Markdown."""

from math import isnan, nan

from django.conf import settings

from .list_cases import EMPTY, FIRST, LIST, NO_ROWS, OLDER, PAGE, SEARCHES, TWO_LETTERS
from .measuring import Case

# What the names of these pages begin with.
DIRECT = (FIRST, "agent", "dates: ", "external id: ")
INDEXED = ("problem: ", "search")


def table(head: list[str], rows: list[list[str]], texts: int) -> str:
    """A Markdown table. The first `texts` columns have texts, the others figures."""
    rule = "|" + "---|" * texts + "--:|" * (len(head) - texts)
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def goal_row(name: str, aim: str, reached: str, met: bool) -> list[str]:
    return [name, aim, reached, "yes" if met else "**no**"]


def failures(cases: list[Case]) -> str:
    lines = [f"- {case.kind}: {case.failure}.\n" for case in cases if case.failure]
    return "\nNot measured:\n\n" + "".join(lines) if lines else ""


def conversations_table(cases: list[Case]) -> str:
    head = ["page", "conversation", "page, ms", "bare SQL, ms", "bytes", "queries"]
    rows = [
        [
            case.page,
            case.kind,
            f"{case.page_ms:.1f}",
            f"{case.bare_ms:.1f}",
            "" if case.first_byte else f"{case.size:,}",
            str(case.queries),
        ]
        for case in measured(cases)
    ]
    return table(head, rows, 2) + failures(cases)


def measured(cases: list[Case]) -> list[Case]:
    return [case for case in cases if not case.failure]


class ListResults:
    """The cases of all sizes, by page and by size."""

    def __init__(self, cases: list[Case]):
        self.cases = cases
        # In the order of the cases: from the smallest history to the largest.
        self.kinds = list(dict.fromkeys(case.kind for case in cases))
        self.found = {(case.page, case.kind): case for case in measured(cases)}
        self.smallest, self.largest = self.kinds[0], self.kinds[-1]

    # Ratios. They are nan if the page to compare with was not measured.

    def page_ms(self, page: str, kind: str) -> float:
        return self.found[page, kind].page_ms if (page, kind) in self.found else nan

    def times_faster(self, case: Case) -> float:
        return case.original_ms / case.page_ms if case.original else nan

    def to_smallest(self, case: Case) -> float:
        return case.page_ms / self.page_ms(case.page, self.smallest)

    def to_first(self, case: Case) -> float:
        return case.page_ms / self.page_ms(FIRST, case.kind)

    def to_empty(self, case: Case) -> float:
        return case.page_ms / (case.bare_ms + self.page_ms(EMPTY, case.kind))

    def to_no_rows(self, case: Case) -> float:
        return case.page_ms / (case.bare_ms + self.page_ms(NO_ROWS, case.kind))

    def table(self) -> str:
        head = ["page", "sessions", "page, ms", "bare SQL, ms", "original, ms", "times faster",
                "to the smallest", "to first page", "to bare + empty", "rows", "bytes",
                "queries"]  # fmt: skip
        rows = []
        for page in dict.fromkeys(page for page, _ in self.found):
            for case in filter(None, (self.found.get((page, kind)) for kind in self.kinds)):
                is_page = case.path.partition("?")[0] == LIST and page != NO_ROWS
                is_empty = page in (EMPTY, NO_ROWS)
                rows.append([
                    page,
                    case.kind,
                    f"{case.page_ms:,.1f}",
                    "" if is_empty else f"{case.bare_ms:,.1f}",
                    f"{case.original_ms:,.0f}" if case.original else "",
                    ratio(self.times_faster(case), 0),
                    ratio(self.to_smallest(case) if case.kind != self.smallest else nan),
                    ratio(self.to_first(case) if is_page else nan),
                    ratio(nan if is_empty else self.to_empty(case)),
                    shown(case, case.bare_rows) if is_page else "",
                    f"{case.size:,}",
                    str(case.queries or ""),
                ])  # fmt: skip
        return table(head, rows, 2) + failures(self.cases)

    def goals(self) -> str:
        """Each goal with its worst figure, at the largest size unless the goal says otherwise."""
        here = [case for case in self.cases if case.kind == self.largest]

        def of(*beginnings):
            return [case for case in here if case.page.startswith(beginnings)]

        direct = of(*DIRECT)
        searches = of(*(f"search: {name}" for name in SEARCHES))
        quick = of("search: rare", "search: missing", "search: common")
        limit = settings.STATEMENT_TIMEOUT_SECONDS * 1000
        milliseconds = (lambda case: case.page_ms, "{:,.0f} ms")
        times, faster = "{:.2f} times", (self.times_faster, "{:,.0f} times faster")
        rows = [
            goal("first page, agent, dates, external id, to the original's way",
                 direct, *faster, least=500),
            goal(f"the same, {self.largest} sessions to {self.smallest}",
                 direct, self.to_smallest, times, most=1.5),
            goal(f"{OLDER}, to the first page",
                 of(OLDER), self.to_first, times, most=1.2),
            goal("problem filter, to the first page",
                 of("problem: "), self.to_first, times, most=3),
            goal("search: any of them", searches, *milliseconds, most=300),
            goal("search: rare, missing and common", quick, *milliseconds, most=30),
            goal("search, to the original's way", searches, *faster, least=100),
            goal("search: two letters", of(TWO_LETTERS), *milliseconds, most=limit),
            goal("first page, to its bare SQL and an empty response",
                 of(FIRST), self.to_empty, times, most=2),
            goal("first page, to its bare SQL and a list without rows",
                 of(FIRST), self.to_no_rows, times, most=2),
            goal("errors", of("errors"), *milliseconds, most=500),
        ]  # fmt: skip
        return table(["figure", "goal", "reached", "worst case", "met"], rows, 5)

    def indexes_table(self, without: list[Case]) -> str:
        head = ["page", "without, ms", "rows", "with, ms", "rows"]
        rows = [
            [
                case.page,
                f"{case.page_ms:,.1f}",
                shown(case, other.bare_rows),
                f"{other.page_ms:,.1f}",
                shown(other, other.bare_rows),
            ]
            for case in measured(without)
            if (other := self.found.get((case.page, case.kind)))
        ]
        return table(head, rows, 1) + failures(without)


def ratio(value: float, digits: int = 2) -> str:
    return "" if isnan(value) else f"{value:,.{digits}f}"


def shown(case: Case, there: int) -> str:
    """
    How many conversations the page shows; of how many, if it does not show all; and how far back
    the search got, if it did not reach the end.
    """
    there = min(there, PAGE)
    some = "" if case.conversations == there else f" of {there}"
    return f"{case.conversations}{some}" + (f", to {case.reached}" if case.reached else "")


def goal(name, cases, figure, form, *, least=None, most=None) -> list[str]:
    aim = f"at least {form.format(least)}" if least else f"at most {form.format(most)}"
    missing = [case.page for case in cases if case.failure or isnan(figure(case))]
    if missing or not cases:
        return [name, aim, "not measured", ", ".join(missing), "**no**"]
    figures = [(figure(case), case.page) for case in cases]
    worst, page = min(figures) if least else max(figures)
    met = worst >= least if least else worst <= most
    return [name, aim, form.format(worst), page, "yes" if met else "**no**"]
