from django.contrib.admin import AdminSite as DjangoAdminSite
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class AdminSite(DjangoAdminSite):
    site_title = site_header = "Conversation Desk"
    index_title = "Administration"
    site_url = "/conversations/"

    def has_permission(self, request):
        # The role decides, so that putting someone into the Admin group is all it takes.
        return request.user.is_active and request.user.has_perm("accounts.use_admin")


class AdminConfig(DjangoAdminConfig):
    default_site = "backoffice.admin.AdminSite"
