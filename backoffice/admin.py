from django.contrib.admin import AdminSite as DjangoAdminSite
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.utils.decorators import method_decorator


class AdminSite(DjangoAdminSite):
    site_title = site_header = "Conversation Desk"
    index_title = "Administration"
    site_url = "/conversations/"

    def has_permission(self, request):
        # The role decides, so that putting someone into the Admin group is all it takes.
        return request.user.is_active and request.user.has_perm("accounts.use_admin")

    @method_decorator(login_not_required)
    def login(self, request, extra_context=None):
        """There is one sign-in page; whoever is signed in and ends up here may not go on."""
        from django.contrib.auth.views import redirect_to_login  # needs the user model

        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.GET.get("next", "/admin/"))

    def get_urls(self):
        # "View on site" resolves any model by any text, conversations by non-uuids included.
        return [url for url in super().get_urls() if getattr(url, "name", "") != "view_on_site"]


class AdminConfig(DjangoAdminConfig):
    default_site = "backoffice.admin.AdminSite"
