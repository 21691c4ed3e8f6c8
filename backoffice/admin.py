from collections.abc import Callable, Iterable
from functools import wraps

from csp.decorators import csp_replace
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
            # Django refuses a field that there is not, but fails at one without a name.
            if "" in (request.GET.get(TO_FIELD_VAR), request.POST.get(TO_FIELD_VAR)):
                raise DisallowedModelAdminToField("A field without a name cannot be referenced.")
            return view(request, *args, **kwargs)

        # The panel's own scripts write HTML.
        free = csp_replace({"require-trusted-types-for": None, "trusted-types": None})
        return free(super().admin_view(checked, cacheable))

    @method_decorator(login_not_required)
    def login(self, request, extra_context=None):
        """There is one sign-in page; whoever is signed in and ends up here may not go on."""
        from django.contrib.auth.views import redirect_to_login  # needs the user model

        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.GET.get("next", "/admin/"))

    def autocomplete_view(self, request):
        """No form of ours asks for it, and the audit trail would not tell what it answers."""
        raise PermissionDenied

    def password_change(self, request, extra_context=None):
        """Ours counts guesses of the old one and is in the audit trail."""
        return redirect("change_password")

    def get_urls(self):
        # "View on site" resolves any model by any text, conversations by non-uuids included.
        return [url for url in super().get_urls() if getattr(url, "name", "") != "view_on_site"]


class CappedPaginator(Paginator):
    """Counts no further than it leads; what lies behind is found by searching."""

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
        # Whatever the address asks for: no other order has an index.
        return self.model_admin.get_ordering(request)

    def get_results(self, request):
        super().get_results(request)
        if not self.query or self.paginator.is_capped:
            # Beside the search it would say how many results there are, which nobody counted.
            self.full_result_count = self.result_count


class BigTableAdmin(ModelAdmin):
    """
    The list of a table of any size, to which nothing is added and from which nothing is deleted.

    A subclass orders by an index, and searches by `searches()`.
    """

    paginator = CappedPaginator
    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by = ()
    actions = None
    # Makes the search box appear.
    search_fields = ("pk",)
    # What the address may filter by: Django would let it name any column.
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

    def get_changelist_instance(self, request):
        try:
            return super().get_changelist_instance(request)
        except IncorrectLookupParameters as error:
            # Django goes on without the filter, or blames the database.
            raise BadRequest("This filter is not valid.") from error

    def lookup_allowed(self, lookup, value, request=None):
        return lookup in self.lookups and "\0" not in value

    def get_search_results(self, request, queryset, search_term):
        """
        What the first of the ways to search finds, if any: an OR of them would leave the database
        without one index to walk.
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
