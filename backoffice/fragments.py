"""Pages of which htmx can request just a part."""

from django.utils.cache import patch_vary_headers

# What a filter replaces in the list and on the page Errors, and the part of it below the filters.
LIST_TARGET = "main#browse"
RESULTS_TARGET = "#results"
HTMX_HEADERS = ("HX-Request", "HX-Boosted", "HX-History-Restore-Request")


def wants_fragment(request) -> bool:
    """Back and boosted links are htmx requests too, but they replace the whole page."""
    # A request with a bad Host header fails before it has this attribute.
    htmx = getattr(request, "htmx", None)
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def refreshes_itself(request) -> bool:
    """
    Whether an open page sent the request on its own. A browser that lies about it harms only its
    own user: the sign-in ends sooner.
    """
    return "X-Refresh" in request.headers


class FragmentMixin:
    """Answers with `fragment_name` if htmx asked for it, else with `template_name`."""

    fragment_name: str

    def get_template_names(self):
        return [self.fragment_name if wants_fragment(self.request) else self.template_name]

    def render_to_response(self, context, **kwargs):
        response = super().render_to_response(context, **kwargs)
        patch_vary_headers(response, HTMX_HEADERS)
        return response
