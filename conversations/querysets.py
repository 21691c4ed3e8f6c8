"""SQL of the agent database. One place says what a problem is; every page and file uses it."""

from datetime import datetime, timedelta

from django.apps import apps
from django.db.models import (
    BooleanField,
    Case,
    CharField,
    Count,
    DateTimeField,
    Exists,
    F,
    Func,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce, JSONObject, Least, Left
from django.utils import timezone

from backoffice.databases.text import is_storable

from .agentdb import revision

# A run that has not ended and shows no sign of life for this long lost its process.
INTERRUPTED_AFTER = timedelta(minutes=15)
PREVIEW_LENGTH = 200
# What the runtime's evaluations put before their external ids.
EVALUATION_PREFIX = "eval:"


def rows(model: str) -> QuerySet:
    return apps.get_model("conversations", model).objects.all()


def any_of(queryset: QuerySet) -> Q:
    """That there is a row, in a form which PostgreSQL cannot turn into a hash of a whole table."""
    one = queryset.order_by().annotate(found=Value(True)).values("found")[:1]
    return Q(Coalesce(Subquery(one), False))


def run_signs() -> tuple[Q, Q, Q]:
    """Conditions on Run, from 0006 on: it answered, it ended, it shows signs of life."""
    answered = any_of(rows("ChatMessage").filter(run_id=OuterRef("pk"), role="assistant"))
    since = timezone.now() - INTERRUPTED_AFTER
    steps = rows("Task").filter(run_id=OuterRef("pk"), updated_at__gt=since)
    # 0006 has 0005's links.
    calls = rows("ModelCall").filter(run_id=OuterRef("pk"), updated_at__gt=since)
    return (
        answered,
        Q(duration_seconds__isnull=False),
        Q(updated_at__gt=since) | Exists(steps) | Q(Exists(calls)),
    )


def unfinished_runs() -> dict[str, Q]:
    """
    {status: condition on Run} for runs without a result; any other run is completed.

    A run whose workflow ends with an empty result still answered the person: it has an
    assistant message, and is completed.
    """
    no_output = Q(output_data__has_value=False)
    if not revision.has_run_durations():
        return {"incomplete": no_output}
    answered, ended, alive = run_signs()
    no_result = no_output & ~answered
    return {
        "failed": no_result & ended,
        "running": no_result & ~ended & alive,
        "interrupted": no_result & ~ended & ~alive,
    }


def run_status() -> Case:
    """The status as one expression, in which each sign is looked for at most once."""
    whens = [When(output_data__has_value=True, then=Value("completed"))]
    default = "incomplete"
    if revision.has_run_durations():
        answered, ended, alive = run_signs()
        whens += [
            When(answered, then=Value("completed")),
            When(ended, then=Value("failed")),
            When(alive, then=Value("running")),
        ]
        default = "interrupted"
    return Case(*whens, default=Value(default), output_field=CharField())


TASK_ERROR = Q(errors__is_task_error=True)
TOOL_ERROR = Q(node_type="tool_call", output__is_tool_error=True)
MODEL_ERROR = Q(response_code__isnull=True) | Q(response_code__gte=400)


def problem_kinds() -> tuple[str, ...]:
    """The kinds of trouble that this database's revision can tell, in the order shown."""
    runs = ("failed", "interrupted") if revision.has_run_durations() else ("incomplete",)
    models = ("model_error",) if revision.has_model_call_links() else ()
    return (*runs, *models, "tool_error", "task_error")


def failing_rows(kind: str) -> QuerySet:
    """Rows, each with a session_id, that are a problem of this kind; or runs that are running."""
    if kind == "task_error":
        return rows("Task").filter(TASK_ERROR)
    if kind == "tool_error":
        return rows("Task").filter(TOOL_ERROR)
    if kind == "model_error":
        return rows("ModelCall").filter(MODEL_ERROR)
    return rows("Run").filter(unfinished_runs()[kind])


def counts_of(model: str, owner: str, **aggregates):
    """
    Several counts of the rows that name an owner, in one pass, as JSON; None without rows.

    A correlated subquery: a join would multiply rows, and count for owners that are not shown.
    """
    counts = (
        rows(model)
        .filter(**{owner: OuterRef("pk")})
        .order_by()
        .values(owner)
        .annotate(counts=JSONObject(**aggregates))
        .values("counts")
    )
    return Subquery(counts)


def task_and_model_call_counts(owner: str) -> dict[str, Subquery]:
    counts = {
        "task_counts": counts_of(
            "Task",
            owner,
            total=Count("*"),
            task_error=Count("pk", filter=TASK_ERROR),
            tool_error=Count("pk", filter=TOOL_ERROR),
        )
    }
    if revision.has_model_call_links():
        counts["model_call_counts"] = counts_of(
            "ModelCall",
            owner,
            total=Count("*"),
            tokens=Sum("total_tokens"),
            model_error=Count("pk", filter=MODEL_ERROR),
        )
    return counts


def payload_text(field: str, length: int, *path: str):
    """
    The text of a payload, or of what lies at a path inside, cut to a length: a string without
    its quotes, anything else as JSON; None for JSON null.
    """
    steps = "{" + ",".join(path) + "}"
    return Left(
        Func(
            F(field),
            Value(steps),
            template="(%(expressions)s::text[])",
            arg_joiner=" #>> ",
            output_field=TextField(),
        ),
        length,
    )


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
        """Begun by then and active afterwards, in the words of our index on that."""
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
        return self.filter(Exists(messages.filter(content__contains_text=text)))

    def with_external_id(self, external_id: str):
        # By agent first: the runtime's index on external ids begins with the agent.
        return self.filter(agent_id__in=rows("Agent").values("pk"), external_id=external_id)

    def with_external_id_prefix(self, prefix: str):
        return self.filter(external_id__startswith=prefix) if is_storable(prefix) else self.none()

    def without_evaluations(self):
        prefix = Q(external_id__startswith=EVALUATION_PREFIX)
        return self.filter(Q(external_id__isnull=True) | ~prefix)

    def with_summary(self, preview: int | None = PREVIEW_LENGTH):
        """
        Everything a row of the list shows; messages cut to `preview` characters, or whole.

        The list's Session has properties that read these annotations.
        """
        content = F("content") if preview is None else Left("content", preview)
        messages = (
            rows("ChatMessage").filter(session_id=OuterRef("pk")).annotate(preview=content)
        ).values("preview")
        runs = rows("Run").filter(session_id=OuterRef("pk"))
        statuses = unfinished_runs().items()
        return self.annotate(
            agent_name=F("agent__name"),
            first_message=Subquery(messages.order_by("created_at", "id")[:1]),
            last_message=Subquery(messages.order_by("-created_at", "-id")[:1]),
            status=Subquery(runs.with_status().order_by("-created_at", "-id").values("status")[:1]),
            message_counts=counts_of("ChatMessage", "session_id", total=Count("*")),
            run_counts=counts_of(
                "Run",
                "session_id",
                total=Count("*"),
                **{status: Count("pk", filter=condition) for status, condition in statuses},
            ),
            **task_and_model_call_counts("session_id"),
        )


class RunQuerySet(QuerySet):
    def oldest_first(self):
        return self.order_by("created_at", "id")

    def with_status(self):
        return self.annotate(status=run_status())

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

    def with_problems(self):
        return self.annotate(
            has_task_error=Case(When(TASK_ERROR, Value(True)), default=Value(False)),
            has_tool_error=Case(When(TOOL_ERROR, Value(True)), default=Value(False)),
        )

    def without_payloads(self):
        return self.defer("inputs", "output", "prompt", "errors")


class ChatMessageQuerySet(QuerySet):
    def oldest_first(self):
        return self.order_by("created_at", "id")
