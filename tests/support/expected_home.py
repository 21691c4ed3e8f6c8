"""
What Home should say, by SQL on the agent database that shares nothing with the rollup: also where
its periods, days and hours begin and end.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import genai_prices
import pytest

from backoffice.words import seconds
from conversations.agentdb import revision
from conversations.problems import kinds
from overview import charts, tiles
from overview.figures import FEW
from overview.home.problems_by_agent import problems_by_agent
from overview.percentiles import bin_of, seconds_of
from overview.periods import CHOICES, Span
from overview.rollup import changes, lately
from overview.usage import Money
from overview.words import money_note, money_words

from .expected_figures import UNANSWERED, expected_conversations, problems_sql, run_sql, runs_sql

# Of {days} until a moment, and of as many before; at the same time of day in that zone.
PERIODS = """
    SELECT (day - {days} * interval '1 day') AT TIME ZONE {zone}, {until},
        (day - 2 * {days} * interval '1 day') AT TIME ZONE {zone},
        ({until} AT TIME ZONE {zone} - {days} * interval '1 day') AT TIME ZONE {zone}
    FROM (
        SELECT date_trunc('day', ({until} - interval '1 us') AT TIME ZONE {zone})
            + interval '1 day'
    ) AS last (day)
"""
DAYS = """
    SELECT day AT TIME ZONE {zone},
        least((day + interval '1 day') AT TIME ZONE {zone}, {until})
    FROM date_trunc('day', ({until} - interval '1 us') AT TIME ZONE {zone}) AS last,
        generate_series(last - ({days} - 1) * interval '1 day', last, interval '1 day') AS day
    ORDER BY 1
"""
HOURS = """
    SELECT min(quarter), max(quarter) + interval '15 min'
    FROM generate_series(
        date_trunc('day', ({until} - interval '1 us') AT TIME ZONE {zone}) AT TIME ZONE {zone},
        {until} - interval '15 min', interval '15 min'
    ) AS quarter
    GROUP BY date_trunc('hour', quarter AT TIME ZONE {zone}),
        quarter AT TIME ZONE {zone} - quarter AT TIME ZONE 'UTC'
    ORDER BY 1
"""
ACTIVE = """
    (SELECT session_id, created_at FROM chat_messages
     UNION ALL SELECT session_id, created_at FROM runs) AS active
"""
IN_SPAN = "{at} >= since AND {at} < until"


@dataclass
class Expected:
    active: set[UUID] = field(default_factory=set)
    # {session: its kinds of problem}
    problems: dict[UUID, set[str]] = field(default_factory=lambda: defaultdict(set))
    unanswered: set[UUID] = field(default_factory=set)
    people: set[str] = field(default_factory=set)
    messages: int = 0
    runs: int = 0
    runs_without_answer: int = 0
    answers: int = 0
    # Median and 95th percentile in microseconds.
    took: list[int] = field(default_factory=list)
    tokens: int = 0
    money: Money = field(default_factory=Money)

    def seconds(self) -> list[float | None]:
        return [each / 1_000_000 for each in self.took] or [None, None]

    def seconds_in_words(self) -> list[str]:
        """A percentile stands for its bin, see overview.percentiles."""
        return [seconds(seconds_of(bin_of(each))) for each in self.took] or ["–", "–"]

    def answers_note(self) -> str:
        return f"of {self.answers:,} answer{'' if self.answers == 1 else 's'}"

    def by_kind(self) -> Counter:
        return Counter(kind for found in self.problems.values() for kind in found)


def literal(moment: datetime) -> str:
    return f"timestamptz '{moment.isoformat()}'"


def expected(spans: list[tuple[datetime, datetime]]) -> list[Expected]:
    values = ", ".join(
        f"({place}, {literal(since)}, {literal(until)})"
        for place, (since, until) in enumerate(spans)
    )
    table = f"(VALUES {values}) AS span (place, since, until)"
    found = [Expected() for _ in spans]

    def read(columns, source, at="created_at", where="true", group="") -> list[tuple]:
        return run_sql(
            f"SELECT place, {columns} FROM {table} JOIN {source} ON {IN_SPAN.format(at=at)}"
            f" WHERE {where} {group}"
        )

    def grouped(*args, **options):
        return read(*args, group="GROUP BY 1", **options)

    outcomes = {pk: outcome for pk, (_, _, outcome, _) in expected_conversations().items()}
    external_ids = dict(run_sql("SELECT id, external_id FROM sessions"))
    for place, pk in read("session_id", ACTIVE):
        found[place].active.add(pk)
        if outcomes[pk] == "none":
            person = external_ids[pk]
            found[place].unanswered.add(pk)
            found[place].people.add(
                person if person and not person.startswith("eval:") else f"unknown {pk}"
            )
    for place, pk, kind in read("session_id, kind", problems_sql()):
        found[place].problems[pk].add(kind)
    for place, number in grouped("count(*)", "chat_messages"):
        found[place].messages = number
    without = f"count(*) FILTER (WHERE {UNANSWERED})"
    for place, *numbers in grouped(f"count(*), {without}", runs_sql()):
        found[place].runs, found[place].runs_without_answer = numbers
    if revision.has_run_durations():
        took = "round(duration_seconds * 1000000)::bigint"
        percentiles = f"percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY {took})"
        rows = grouped(f"count(*), {percentiles}", runs_sql(), "ended", "status = 'completed'")
        for place, *answers in rows:
            found[place].answers, found[place].took = answers
    cached = "cached_prompt_tokens" if revision.has_token_details() else "NULL::integer"
    columns = f"""model, created_at, coalesce(response_code, 500) >= 400, prompt_tokens,
        completion_tokens, total_tokens, {cached}"""
    for place, *call in read(columns, "model_call_stats"):
        add_call(found[place], *call)
    return found


def add_call(to: Expected, model, at, failed, prompt, completion, total, cached):
    """Of the few models in the recorded databases, see tests/overview/test_home_recorded.py."""
    to.money.calls += 1
    given, answered, cached = prompt or 0, completion or 0, cached or 0
    if "embedding" in model:
        given = total
    elif model.startswith("anthropic/"):
        given += cached
        to.money.is_cache_unclear |= bool(cached)
    to.tokens += given + answered
    if not given + answered:
        to.money.unpriced += not failed
        return
    provider, _, name = model.partition("/")
    used = genai_prices.Usage(input_tokens=given, cache_read_tokens=cached, output_tokens=answered)
    try:
        priced = genai_prices.calc_price(
            used, model_ref=name, provider_id=provider, genai_request_timestamp=at
        )
    except LookupError:
        to.money.unpriced += 1
    else:
        to.money.amount += Decimal(priced.total_price)


def assert_home_is_right(zone: str, until: datetime):
    """Needs that time zone to be active."""
    names = {"zone": f"'{zone}'", "until": literal(until)}
    spans = []
    for days in tiles.PERIODS:
        [(since, end, *before)] = run_sql(PERIODS.format(days=days, **names))
        spans += [(since, end), tuple(before)]
    assert_figures_are_right(tiles.overview(until), expected(spans))
    if changes.finds_messages():
        assert_lately_is_right(Span(until - lately.LONGEST, until))
    for period, _ in CHOICES:
        statement = HOURS if period == "today" else DAYS
        slices = run_sql(statement.format(days=period.removesuffix("d"), **names))
        *of_slices, whole = expected([*slices, (slices[0][0], until)])
        assert_charts_are_right(charts.charts(period, until), of_slices)
        assert_agents_are_right(Span(slices[0][0], until), whole)


def in_words(found: Expected) -> list[tuple]:
    """[(words, note, whether it is faint, conversations or None)] of each tile."""
    in_conversations = len(found.unanswered)
    median, most = found.seconds_in_words()
    of_answers = (found.answers_note(), found.answers < FEW, None)
    return [
        (f"{len(found.active):,}", "", False, len(found.active)),
        (f"{found.messages:,}", "", False, None),
        (
            f"{len(found.people):,}",
            f"in {in_conversations:,} conversation{'' if in_conversations == 1 else 's'}"
            if in_conversations
            else "",
            False,
            in_conversations,
        ),
        (f"{len(found.problems):,}", "", False, len(found.problems)),
        (median, *of_answers),
        (most, *of_answers),
        (f"{found.tokens:,}", "", False, None),
        (money_words(found.money), money_note(found.money), False, None),
    ]


def assert_lately_is_right(span: Span):
    """What Home says of quarters of an hour that are not in its figures."""
    told = [
        (number.words, number.note, number.is_faint, number.conversations)
        for _, number in tiles.numbers(span, lately.figures_of(span))
    ]
    assert told == in_words(*expected([(span.since, span.until)]))


def assert_figures_are_right(overview: tiles.Overview, numbers: list[Expected]):
    told = {
        tile.label: [
            (number.words, number.note, number.is_faint, number.conversations)
            for pair in tile.pairs
            for number in (pair.shown, pair.before)
        ]
        for tile in overview.tiles
    }
    of_periods = [in_words(found) for found in numbers]
    assert told == dict(zip(told, map(list, zip(*of_periods, strict=True)), strict=True))
    by_kind = {
        row.label: [number.conversations for number in row.numbers] for row in overview.kinds
    }
    assert by_kind == {
        kind.label: [found.by_kind()[kind.name] for found in numbers] for kind in kinds.problems()
    }


def assert_charts_are_right(found: list, numbers: list[Expected]):
    told = {
        chart.measures[0]: [(point.numbers, point.words, point.note) for point in chart.points]
        for chart in found
    }
    expected = {measure: [] for measure in told}
    for each in numbers:
        money = each.money
        answered = each.runs - each.runs_without_answer
        nearly = [None if took is None else pytest.approx(took, rel=0.005 + 1e-9, abs=1e-6)
                  for took in each.seconds()]  # fmt: skip
        for measure, values in zip(expected, (
            ([len(each.active)], [f"{len(each.active):,}"], ""),
            ([len(each.problems)], [f"{len(each.problems):,}"], ""),
            (
                [answered, each.runs_without_answer],
                [f"{each.runs:,}", f"{each.runs_without_answer:,}"],
                "",
            ),
            (
                nearly,
                each.seconds_in_words() if each.answers else ["", ""],
                each.answers_note() if each.answers else "no answers",
            ),
            ([each.tokens], [f"{each.tokens:,}"], ""),
            ([pytest.approx(float(money.amount))], [money_words(money)], money_note(money)),
        ), strict=True):  # fmt: skip
            expected[measure].append(values)
    assert told == expected


def assert_agents_are_right(span: Span, whole: Expected):
    agent_of = dict(run_sql("SELECT id, agent_id FROM sessions"))
    expected = {}
    for agent in {agent_of[pk] for pk in whole.active | whole.problems.keys()}:
        kinds_of = [found for pk, found in whole.problems.items() if agent_of[pk] == agent]
        expected[str(agent)] = (
            sum(agent_of[pk] == agent for pk in whole.active),
            len(kinds_of),
            Counter(kinds.named(kind).label for found in kinds_of for kind in found),
        )
    told = {
        row.conversations.link.partition("agent=")[2][:36]: (
            row.conversations.conversations,
            row.troubled.conversations,
            {label: number.conversations for label, number in row.kinds},
        )
        for row in problems_by_agent(span)
    }
    assert told == expected
