from django.contrib.auth.mixins import PermissionRequiredMixin

from audit.recording import record_search, record_view
from backoffice.fragments import FragmentMixin, refreshes_itself, wants_fragment


class ConversationAccess(PermissionRequiredMixin):
    """Requires view_session; the audit trail records each conversation seen."""

    permission_required = "conversations.view_session"

    def dispatch(self, request, *args, **kwargs):
        response = super().dispatch(request, *args, **kwargs)
        if response.status_code == 200 and "session_id" in kwargs:
            details = {"page": request.resolver_match.url_name}
            # Any client can claim to be htmx, so only views that have fragments count as parts.
            is_part = isinstance(self, FragmentMixin) and wants_fragment(request)
            if is_part and refreshes_itself(request):
                details["by"] = "an open page"
            record_view(request, kwargs["session_id"], again=not is_part, **details)
        return response


# With these filters, a user could guess at what was said, or by whom.
WORDS = (
    *("search", "external_id", "external_id_is", "external_id_of", "error"),
    *("node", "tool", "model", "type"),
)


def audit_search(request, filters, *, again: bool, **details):
    """Records the search in the audit trail if the filters are valid and one of WORDS is used."""
    typed = [name for name in WORDS if filters.data.get(name)]
    if typed and filters.is_valid():
        if refreshes_itself(request):
            details["by"] = "an open page"
        used = {name: filters.data[name] for name in filters.filters if filters.data.get(name)}
        query = filters.query(keep_cursor=again)
        record_search(request, query, filters=used, typed=typed, again=again, **details)
