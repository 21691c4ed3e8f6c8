from collections.abc import Callable, Iterable
from functools import wraps

from django.contrib.admin import AdminSite as DjangoAdminSite
from django.contrib.admin import ModelAdmin, ShowFacets
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig
from django.contrib.admin.exceptions import DisallowedModelAdminToField
from django.contrib.admin.options import TO_FIELD_VAR, IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.paginator import EmptyPage, Paginator
from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property

from .content_policy import content_policy

# The admin's own scripts assign HTML, which Trusted Types would block.
POLICY = content_policy(without=("require-trusted-types-for", "trusted-types"))


class AdminSite(DjangoAdminSite):
    site_title = site_header = "Conversation Desk"
    index_title = "Administration"
    site_url = "/conversations/"

    def has_permission(self, request):
        # The role decides, so that putting someone into the Admin group is all it takes.
        return request.user.is_active and request.user.has_perm("accounts.use_admin")

    def admin_view(self, view, cacheable=False):
        @wraps(view)
        def checked(request, *args, **kwargs):
            # Django refuses an unknown field, but crashes on an empty name.
            if "" in (request.GET.get(TO_FIELD_VAR), request.POST.get(TO_FIELD_VAR)):
                raise DisallowedModelAdminToField("A field without a name cannot be referenced.")
            response = view(request, *args, **kwargs)
            response["Content-Security-Policy"] = POLICY
            return response

        return super().admin_view(checked, cacheable)

    @method_decorator(login_not_required)
    def login(self, request, extra_context=None):
        """Use the site's sign-in page. A signed-in user who ends up here has no access."""
        from django.contrib.auth.views import redirect_to_login  # needs the user model

        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.GET.get("next", "/admin/"))

    def autocomplete_view(self, request):
        """Closed: no form of ours uses it, and what it shows would not be in the audit trail."""
        raise PermissionDenied

    def password_change(self, request, extra_context=None):
        """Our own page limits guesses at the old password and is audited."""
        return redirect("change_password")

    def get_urls(self):
        # Django's "View on site" looks up any model by any text, even a conversation by a non-UUID.
        return [url for url in super().get_urls() if getattr(url, "name", "") != "view_on_site"]


class KnownFilters:
    """A ModelAdmin whose URL can filter only by `lookups`: Django would allow any column."""

    lookups = frozenset()

    def get_changelist_instance(self, request):
        try:
            return super().get_changelist_instance(request)
        except IncorrectLookupParameters as error:
            # Django would ignore the filter, or blame the database.
            raise BadRequest("The filter is not valid.") from error

    def lookup_allowed(self, lookup, value, request=None):
        return lookup in self.lookups and "\0" not in value


class CappedPaginator(Paginator):
    """Counts and pages through the first `most` rows only; search finds the others."""

    most = 1_000

    @cached_property
    def count(self):
        return self.object_list.order_by()[: self.most].count()

    @property
    def is_capped(self):
        return self.count == self.most

    def validate_number(self, number):
        try:
            return super().validate_number(number)
        except EmptyPage:
            return 1 if number < 1 else self.num_pages


class BigTableChangeList(ChangeList):
    def get_ordering(self, request, queryset):
        # Ignores the order in the URL: only the default order has an index.
        return self.model_admin.get_ordering(request)

    def get_results(self, request):
        super().get_results(request)
        if not self.query or self.paginator.is_capped:
            # Hides the number of results beside the search box: capped, it would be wrong.
            self.full_result_count = self.result_count


class BigTableAdmin(KnownFilters, ModelAdmin):
    """
    Lists a table of any size. Rows can be neither added nor deleted.

    A subclass orders by an index and defines `searches()`.
    """

    paginator = CappedPaginator
    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by = ()
    actions = None
    # Makes the search box appear.
    search_fields = ("pk",)
    # The only filters that a URL may use: Django would allow any column.
    lookups = frozenset()

    def has_add_permission(self, request):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def get_object(self, request, object_id, from_field=None):
        found = super().get_object(request, object_id, from_field)
        if found is None:
            raise Http404
        return found

    def get_changelist(self, request, **kwargs):
        return BigTableChangeList

    def get_search_results(self, request, queryset, search_term):
        """
        The rows of the first search that finds any: no single index could serve them all in an OR.
        """
        term = search_term.strip()
        if not term:
            return queryset, False
        for search in self.searches(term):
            found = search(queryset)
            if found.exists():
                return found, False
        return queryset.none(), False

    def searches(self, term: str) -> Iterable[Callable[[QuerySet], QuerySet]]:
        raise NotImplementedError


class AdminConfig(DjangoAdminConfig):
    default_site = "backoffice.admin.AdminSite"
