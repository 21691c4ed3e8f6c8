"""SQL for the agent database, shared by every page and file."""

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

# Imported to register its lookups.
from .agentdb import lookups, revision, tokens  # noqa: F401
from .agentdb.conventions import EVALUATION_PREFIX, REDACTED, ROLE_ORDER
from .agentdb.search_terms import whole
from .agentdb.sql import Template, rows
from .problems import kinds

PREVIEW_LENGTH = 200
SPEAKS = Template(ROLE_ORDER, IntegerField())
# Texts whose normal form, up to the last letter, is contained in the normal form of every text that
# contains them.
PLAIN = re.compile(r"(?! )(?:[!-\[\]-~]| (?! ))+")
# This may be the end of an escape such as \\u00fc, which is a single letter in normal form.
END_OF_ESCAPE = re.compile("u?[0-9a-f]{1,4}", re.IGNORECASE)


def counts_of(model: str, owner: str, **aggregates):
    """
    Several counts over the rows that belong to an owner, in one pass, as JSON; None without rows.

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
    """{kind: number of the model's rows that are of this kind}, for counts_of()."""
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


# Runs are read in a separate subquery. Its LIMIT keeps the planner from merging it: otherwise each
# kind would look up a run's answer and signs of life again.
RUN_COUNTS = """(
    SELECT jsonb_build_object({members}) FROM (%(subquery)s LIMIT 1000000000000) AS run
    HAVING count(*) > 0
)"""


def run_counts(*, seconds: bool) -> Subquery:
    """
    A session's runs as JSON: their number, the number of each kind, the last one's status, and
    which are unfinished; None without runs. `seconds`: include how long they took in total.
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
        # The second condition implies the first, but only the first lets an index start there.
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
        """Had begun by then and was active afterwards, in the expression that our index has."""
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
        # Our index holds normal forms, in which the last letter may merge with what follows it.
        if PLAIN.fullmatch(text):
            escape = END_OF_ESCAPE.match(text)
            if sure := text[escape.end() if escape else 0 : -1].strip():
                messages = messages.filter(content__holds=[whole(sure)])
        return self.filter(Exists(messages))

    def with_external_id(self, *external_ids: str):
        """Exactly one of these. What is left of a redacted external id matches nothing."""
        external_ids = tuple(each for each in external_ids if REDACTED not in each)
        # Names agents because the runtime's index on external ids begins with the agent.
        return self.filter(agent_id__in=rows("Agent").values("pk"), external_id__in=external_ids)

    def with_external_id_prefix(self, prefix: str):
        """External ids that begin exactly like this."""
        if not is_storable(prefix):
            return self.none()
        found = self.filter(external_id__startswith=prefix)
        # See search().
        if PLAIN.fullmatch(prefix):
            found = found.named_from(prefix[:-1])
        return found

    def named(self, *external_ids: str):
        """One of these external ids, in any case and spelling; see agentdb/normal_form.py."""
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
        The agent's name, and whether another agent has the same; see Session.agent_label. Only for
        a few rows, because each row searches all agents.
        """
        same = rows("Agent").filter(name=OuterRef("agent__name")).exclude(pk=OuterRef("agent_id"))
        return self.annotate(agent_name=F("agent__name"), has_namesake=Exists(same))

    def with_summary(self, preview: int | None = PREVIEW_LENGTH, *, seconds: bool = False):
        """
        Everything that a row of the list shows; messages are cut to `preview` characters, or whole.
        `seconds`: include how long the runs took.

        Properties of Session read these annotations.
        """
        content = F("content") if preview is None else Left("content", preview)
        messages = (
            rows("ChatMessage").filter(session_id=OuterRef("pk")).annotate(preview=content)
        ).values("preview")
        # Like oldest_first() except for when runs began, which would take a quarter longer.
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
        """The part of with_summary() that Session.signature reads: no text, no payload."""
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
        """Runs that may still end, selected by the predicate of our index."""
        return self.filter(kinds.unfinished().by_predicate())

    def with_status(self):
        return self.annotate(status=kinds.run_status())

    def with_state(self):
        """What Run.state reads: no payloads."""
        counts = {
            "message_counts": counts_of("ChatMessage", "run_id", total=Count("*")),
            "task_counts": counts_of("Task", "run_id", total=Count("*")),
        }
        if revision.has_model_call_links():
            counts["model_call_counts"] = counts_of("ModelCall", "run_id", total=Count("*"))
        return self.with_status().annotate(**counts)

    def with_summary(self):
        """Status and counts, for properties of Run."""
        return self.with_status().annotate(**task_and_model_call_counts("run_id"))

    def without_payloads(self):
        return self.defer("input_data", "output_data", "context")


class TaskQuerySet(QuerySet):
    def in_order(self, *before: str):
        """In the order they ran: timestamps tie and parallel branches interleave, seq does not."""
        seq = [F("seq").asc(nulls_last=True)] if revision.has_task_order() else []
        return self.order_by(*before, *seq, "created_at", "id")

    def by_run(self):
        """Tasks in order, run after run, as the runs began."""
        run = rows("Run").filter(session_id=OuterRef("session_id"), pk=OuterRef("run_id"))
        began = self.annotate(run_began=Subquery(run.values("created_at")))
        return began.in_order("run_began", "run_id")

    def with_problems(self):
        """Flags each task's kinds of problem, for example `is_tool_error`; see the model."""
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
        """For equal times, a question comes before its answer, then by when the runs began."""
        run = rows("Run").filter(session_id=OuterRef("session_id"), pk=OuterRef("run_id"))
        began = self.annotate(run_began=Subquery(run.values("created_at")))
        return began.order_by("created_at", SPEAKS, "run_began", "run_id", "id")
