"""The export of the page Model calls: the figures of each call, without request and response."""

from datetime import tzinfo

from django.db.models import F, OuterRef, QuerySet, Subquery, UUIDField
from django.db.models.functions import Coalesce
from django.http import Http404
from django.utils import timezone
from psycopg import sql

from ..agentdb import revision, tokens
from ..agentdb.sql import with_columns
from ..models import Agent, ModelCall, Session
from ..prices import values_sql
from ..problems import kinds
from ..selection.model_calls import FAILED, SUCCEEDED
from .files import FORMS, File, cost_column, created_on, every, file_of, finite, iso
from .lines import Column, Kind
from .request import ExportRequest, parse_model_calls
from .views import FileView

NAME = "model-calls"
STORED = (
    "id", "call_type", "model", "response_code", "prompt_tokens", "cached_prompt_tokens",
    "completion_tokens", "reasoning_tokens", "total_tokens", "batch_size", "duration_seconds",
    "session_id", "run_id", "created_at",
)  # fmt: skip


class ModelCallExportView(FileView):
    def get(self, request, form):
        if form not in FORMS:
            raise Http404
        return self.answer(parse_model_calls(request.GET, form), NAME, form)

    def file(self, asked: ExportRequest, name: str, form: str, **options) -> File:
        zone = timezone.get_current_timezone()
        columns = model_calls(options["site"], zone)
        source, params = every(with_owners(asked.filters.matching))
        order = ("created_at DESC", "id DESC")
        return file_of(name, form, columns, f"({source}) AS call", params, order, **options)


def with_owners(calls: QuerySet) -> QuerySet:
    """Newest first, each with its conversation and agent: the conversation's, if it is there."""
    missing = revision.missing_fields(ModelCall)
    names = ["owner", "agent_name", *(name for name in STORED if name not in missing)]
    owner: F | Coalesce = F("agent_id")
    agents = Agent.objects.filter(pk=OuterRef("agent_id"))
    agent_name: Subquery | Coalesce = Subquery(agents.values("name"))
    if revision.has_model_call_links():
        session = Session.objects.filter(pk=OuterRef("session_id"))
        calls = calls.annotate(
            external_id=Subquery(session.values("external_id")),
            session_agent=Subquery(session.values("agent_id")),
        )
        owner = Coalesce("session_agent", "agent_id", output_field=UUIDField())
        agent_name = Coalesce(Subquery(session.values("agent__name")), agent_name)
        names += ["external_id", "session_agent"]
    calls = calls.annotate(owner=owner, agent_name=agent_name)
    return calls.order_by("-created_at", "-id").values(*names)


def model_calls(site: str, zone: tzinfo) -> list[Column]:
    missing = revision.missing_fields(ModelCall)
    has_links = revision.has_model_call_links()

    def column(name: str, kind: Kind = Kind.PLAIN, without: str = "integer") -> Column:
        return Column(name, kind, f"NULL::{without}" if name in missing else name)

    failed = with_columns(kinds.MODEL_ERROR.predicate)
    # The driver would take a percent sign for a placeholder.
    link = sql.quote(site).replace("%", "%%")
    run = "coalesce('?run=' || run_id || '#run-' || run_id, '')"
    to_conversation = (
        f"CASE WHEN session_agent IS NOT NULL THEN {link} || session_id || '/' || {run} END"
    )
    call = f"json_build_array(json_build_array(model, {', '.join(values_sql())}))"
    return [
        column("id", Kind.OURS),
        column("session_id", Kind.OURS, "uuid"),
        Column("agent_id", Kind.OURS, "owner"),
        Column("agent_name", Kind.TEXT, "agent_name"),
        Column("external_id", Kind.TEXT, "external_id" if has_links else "NULL::text"),
        column("run_id", Kind.OURS, "uuid"),
        column("call_type", Kind.TEXT),
        column("model", Kind.TEXT),
        Column("status", Kind.OURS, f"CASE WHEN {failed} THEN '{FAILED}' ELSE '{SUCCEEDED}' END"),
        column("response_code"),
        Column("tokens_count", Kind.PLAIN, with_columns(tokens.total_sql())),
        column("prompt_tokens"),
        column("cached_prompt_tokens"),
        column("completion_tokens"),
        column("reasoning_tokens"),
        column("total_tokens"),
        column("batch_size"),
        Column("duration_seconds", Kind.PLAIN, finite("duration_seconds")),
        Column("created_at", Kind.TIME, iso("created_at")),
        Column("link", Kind.OURS, to_conversation if has_links else "NULL::text"),
        cost_column(call),
        created_on("created_at", zone),
    ]
