"""The base of pages that show results below filters."""

from django.db import OperationalError

from backoffice.databases.errors import alias_of, is_timeout
from backoffice.databases.time_limits import TimeBudget, time_limit
from backoffice.fragments import LIST_TARGET, FragmentMixin, wants_fragment
from backoffice.metrics import database_failed

from ..models import Session

# The time limit for the filters on the page that says it took too long.
TIMED_OUT_SECONDS = 0.5


class FilteredPageMixin(FragmentMixin):
    """
    A page of results below filters. If the results take too long, it keeps the filters and says so,
    with status 503. When htmx replaces the page, the address bar shows the URL with the filters.
    """

    def get(self, request, *args, **kwargs):
        try:
            return self.get_page(request, *args, **kwargs)
        except OperationalError as error:
            # Filters cannot be blamed for our own database.
            if not is_timeout(error) or alias_of(error) == "default":
                raise
            database_failed(error)
        # If even the agents' names take too long, the error page appears without filters.
        with time_limit(Session.objects.db, TimeBudget(TIMED_OUT_SECONDS)):
            context = self.filters_context() | {"timed_out": True, "retry": request.get_full_path()}
            return self.render_to_response(context, status=503).render()

    def get_page(self, request, *args, **kwargs):
        return super().get(request, *args, **kwargs)

    def filters_context(self) -> dict:
        """The part of the context that does not depend on results."""
        raise NotImplementedError

    def shown_query(self, context: dict) -> str:
        """The query string of the page shown, without the form's empty fields."""
        raise NotImplementedError

    def render_to_response(self, context, **kwargs):
        response = super().render_to_response(context, **kwargs)
        if wants_fragment(self.request) and self.request.htmx.target == LIST_TARGET:
            query = self.shown_query(context)
            response["HX-Push-Url"] = f"{self.request.path}?{query}" if query else self.request.path
        return response
