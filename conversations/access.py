from django.contrib.auth.mixins import PermissionRequiredMixin


class Browse(PermissionRequiredMixin):
    permission_required = "conversations.view_session"
