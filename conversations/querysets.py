"""SQL of the agent database. One place says what a problem is; every page and file uses it."""

import re
from datetime import datetime

from django.db.models import (
    BigIntegerField,
    BooleanField,
    Case,
    Count,
    DateTimeField,
    Exists,
    F,
    Func,
    IntegerField,
    JSONField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Cast, JSONObject, Least, Left

from backoffice.databases.text import is_storable

# `lookups` registers its lookups.
from .agentdb import lookups, revision, tokens  # noqa: F401
from .agentdb.conventions import EVALUATION_PREFIX, REDACTED, ROLE_ORDER
from .agentdb.search_terms import whole
from .agentdb.sql import Template, rows
from .problems import kinds

PREVIEW_LENGTH = 200
SPEAKS = Template(ROLE_ORDER, IntegerField())
# Texts which any text that holds them also holds in normal form, but for the last letter.
PLAIN = re.compile(r"(?! )(?:[!-\[\]-~]| (?! ))+")
# What may be the end of an escape such as \\u00fc, of which the normal form has the letter alone.
END_OF_ESCAPE = re.compile("u?[0-9a-f]{1,4}", re.IGNORECASE)


def counts_of(model: str, owner: str, **aggregates):
    """
    Several counts of the rows that name an owner, in one pass, as JSON; None without rows.

    A correlated subquery: a join would multiply rows, and count for owners that are not shown.
    """
    within = {} if owner == "session_id" else {"session_id": OuterRef("session_id")}
    counts = (
        rows(model)
        .filter(**{owner: OuterRef("pk")}, **within)
        .order_by()
        .values(owner)
        .annotate(counts=JSONObject(**aggregates))
        .values("counts")
    )
    return Subquery(counts)


def kind_counts(model: str) -> dict[str, Count]:
    """{kind: how many rows of the model are one}, for counts_of()."""
    return {kind.name: Count("pk", filter=kind.condition()) for kind in kinds.known(model)}


def task_and_model_call_counts(owner: str) -> dict[str, Subquery]:
    counts = {"task_counts": counts_of("Task", owner, total=Count("*"), **kind_counts("Task"))}
    if revision.has_model_call_links():
        counts["model_call_counts"] = counts_of(
            "ModelCall",
            owner,
            total=Count("*"),
            tokens=Sum(Template(tokens.total_sql(), BigIntegerField())),
            **kind_counts("ModelCall"),
        )
    return counts


# The runs are read in a subquery of their own, which the planner may not merge for its LIMIT: each
# kind would look for a run's answer and its signs of life again.
RUN_COUNTS = """(
    SELECT jsonb_build_object({members}) FROM (%(subquery)s LIMIT 1000000000000) AS run
    HAVING count(*) > 0
)"""


def run_counts(*, seconds: bool) -> Subquery:
    """
    Of a session's runs, as JSON: how many there are and how many of each kind, the last one's
    status, and which are unfinished; None without runs. `seconds`: also how long they took.
    """
    runs = rows("Run").filter(session_id=OuterRef("pk")).order_by().with_status()
    is_unfinished = Template(f"({kinds.unfinished().predicate})", BooleanField())
    values = ["pk", "created_at", "status", "is_unfinished"]
    members = {
        "total": "count(*)",
        "status": "(array_agg(status ORDER BY created_at DESC, pk DESC))[1]",
        "unfinished": "array_agg(pk) FILTER (WHERE is_unfinished)",
    }
    for kind in kinds.known("Run"):
        members[kind.name] = f"count(*) FILTER (WHERE status = '{kind.name}')"
    if seconds and revision.has_run_durations():
        values.append("duration_seconds")
        is_number = "duration_seconds::text NOT IN ('NaN', 'Infinity', '-Infinity')"
        members["seconds"] = f"sum(duration_seconds) FILTER (WHERE {is_number})"
    each = ", ".join(f"'{name}', {sql}" for name, sql in members.items())
    runs = runs.annotate(is_unfinished=is_unfinished).values(*values)
    return Subquery(runs, output_field=JSONField(), template=RUN_COUNTS.format(members=each))


class SessionQuerySet(QuerySet):
    def newest_first(self):
        return self.order_by("-updated_at", "-id")

    def older_than(self, updated_at: datetime, session_id):
        # The first condition is implied by the second; it alone lets an index start there.
        return self.filter(
            Q(updated_at__lte=updated_at),
            Q(updated_at__lt=updated_at) | Q(updated_at=updated_at, id__lt=session_id),
        )

    def newer_than(self, updated_at: datetime, session_id):
        return self.filter(
            Q(updated_at__gte=updated_at),
            Q(updated_at__gt=updated_at) | Q(updated_at=updated_at, id__gt=session_id),
        )

    def not_older_than(self, updated_at: datetime, session_id):
        return self.filter(
            Q(updated_at__gte=updated_at),
            Q(updated_at__gt=updated_at) | Q(updated_at=updated_at, id__gte=session_id),
        )

    def alive_at(self, moment: datetime):
        """Begun by then and active afterwards, in the expression that our index has."""
        lifetime = Func(
            Least("created_at", "updated_at"), "updated_at", Value("[]"), function="tstzrange"
        )
        return self.filter(
            Func(
                lifetime,
                Cast(Value(moment), DateTimeField()),
                template="(%(expressions)s)",
                arg_joiner=" @> ",
                output_field=BooleanField(),
            )
        )

    def search(self, text: str):
        if not is_storable(text):
            return self.none()
        messages = rows("ChatMessage").filter(session_id=OuterRef("pk"))
        messages = messages.filter(content__contains_text=text)
        # Our index holds normal forms, in which the last letter may be one with what follows.
        if PLAIN.fullmatch(text):
            escape = END_OF_ESCAPE.match(text)
            if sure := text[escape.end() if escape else 0 : -1].strip():
                messages = messages.filter(content__holds=[whole(sure)])
        return self.filter(Exists(messages))

    def with_external_id(self, *external_ids: str):
        """One of these, to the letter. What is left of a redacted one names nobody."""
        external_ids = tuple(each for each in external_ids if REDACTED not in each)
        # By agent first: the runtime's index on external ids begins with the agent.
        return self.filter(agent_id__in=rows("Agent").values("pk"), external_id__in=external_ids)

    def with_external_id_prefix(self, prefix: str):
        """External ids that begin like this, to the letter."""
        if not is_storable(prefix):
            return self.none()
        found = self.filter(external_id__startswith=prefix)
        # As in search().
        if PLAIN.fullmatch(prefix):
            found = found.named_from(prefix[:-1])
        return found

    def named(self, *external_ids: str):
        """One of these, in any case and spelling; see agentdb/normal_form.py."""
        found = Q()
        for each in external_ids:
            found |= Q(external_id__is_named=each)
        return self.filter(found)

    def named_from(self, prefix: str):
        """External ids that begin like this, in any case and spelling."""
        return self.filter(external_id__is_named_from=prefix)

    def without_evaluations(self):
        prefix = Q(external_id__startswith=EVALUATION_PREFIX)
        return self.filter(Q(external_id__isnull=True) | ~prefix)

    def with_agent(self):
        """
        The agent's name, and whether another agent has the same; see Session.agent_label. For few
        rows: each looks through all agents.
        """
        same = rows("Agent").filter(name=OuterRef("agent__name")).exclude(pk=OuterRef("agent_id"))
        return self.annotate(agent_name=F("agent__name"), has_namesake=Exists(same))

    def with_summary(self, preview: int | None = PREVIEW_LENGTH, *, seconds: bool = False):
        """
        Everything a row of the list shows; messages cut to `preview` characters, or whole.
        `seconds`: also how long its runs took.

        The list's Session has properties that read these annotations.
        """
        content = F("content") if preview is None else Left("content", preview)
        messages = (
            rows("ChatMessage").filter(session_id=OuterRef("pk")).annotate(preview=content)
        ).values("preview")
        # As in oldest_first(), but for when runs began, which takes a quarter as long again.
        first = messages.order_by("created_at", SPEAKS, "run_id", "id")
        return self.annotate(
            agent_name=F("agent__name"),
            first_message=Subquery(first[:1]),
            last_message=Subquery(first.reverse()[:1]),
            message_counts=counts_of("ChatMessage", "session_id", total=Count("*")),
            run_counts=run_counts(seconds=seconds),
            **task_and_model_call_counts("session_id"),
        )

    def with_signature(self):
        """As much of with_summary() as Session.signature reads: no text, no payload."""
        counts = {
            "message_counts": counts_of("ChatMessage", "session_id", total=Count("*")),
            "run_counts": counts_of("Run", "session_id", total=Count("*"), **kind_counts("Run")),
            "task_counts": counts_of("Task", "session_id", total=Count("*")),
        }
        if revision.has_model_call_links():
            counts["model_call_counts"] = counts_of("ModelCall", "session_id", total=Count("*"))
        return self.annotate(**counts)


class RunQuerySet(QuerySet):
    def oldest_first(self):
        return self.order_by("created_at", "id")

    def unfinished(self):
        """Runs that may still end, by the predicate of our index on them."""
        return self.filter(kinds.unfinished().by_predicate())

    def with_status(self):
        return self.annotate(status=kinds.run_status())

    def with_state(self):
        """What Run.state reads: no payload."""
        counts = {
            "message_counts": counts_of("ChatMessage", "run_id", total=Count("*")),
            "task_counts": counts_of("Task", "run_id", total=Count("*")),
        }
        if revision.has_model_call_links():
            counts["model_call_counts"] = counts_of("ModelCall", "run_id", total=Count("*"))
        return self.with_status().annotate(**counts)

    def with_summary(self):
        """Status and counts; the Run has properties that read them."""
        return self.with_status().annotate(**task_and_model_call_counts("run_id"))

    def without_payloads(self):
        return self.defer("input_data", "output_data", "context")


class TaskQuerySet(QuerySet):
    def in_order(self, *before: str):
        """The order they ran in: timestamps tie and parallel branches interleave, seq does not."""
        seq = [F("seq").asc(nulls_last=True)] if revision.has_task_order() else []
        return self.order_by(*before, *seq, "created_at", "id")

    def by_run(self):
        """Tasks in order, run by run as the runs began."""
        run = rows("Run").filter(session_id=OuterRef("session_id"), pk=OuterRef("run_id"))
        began = self.annotate(run_began=Subquery(run.values("created_at")))
        return began.in_order("run_began", "run_id")

    def with_problems(self):
        """Flags each task's kinds of problem, such as `is_tool_error`; see the model."""
        return self.annotate(
            **{
                kind.flag: Case(When(kind.condition(), Value(True)), default=Value(False))
                for kind in kinds.problems("Task")
            }
        )

    def without_payloads(self):
        return self.defer("inputs", "output", "prompt", "errors")


class ChatMessageQuerySet(QuerySet):
    def oldest_first(self):
        """Of one moment, a question before its answer, and then as the runs began."""
        run = rows("Run").filter(session_id=OuterRef("session_id"), pk=OuterRef("run_id"))
        began = self.annotate(run_began=Subquery(run.values("created_at")))
        return began.order_by("created_at", SPEAKS, "run_began", "run_id", "id")
