from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin

from audit.models import Act
from audit.recording import record

from . import second_factors
from .models import User

# Secrets, and a second place for addresses that nothing here reads.
admin.site.unregister([EmailAddress, Authenticator])


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    """Roles are groups: no single permissions, and no flags that would go past them."""

    list_display = ["username", "email", "roles", "is_active", "last_login"]
    list_filter = ["groups", "is_active"]
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Access", {"fields": ["is_active", "groups"]}),
        ("Dates", {"fields": ["last_login", "date_joined"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["username", "email", "usable_password", "password1", "password2"]}),
    ]
    readonly_fields = ["last_login", "date_joined"]
    actions = ["sign_out_everywhere", "reset_second_factors"]

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description="Roles")
    def roles(self, user):
        return ", ".join(group.name for group in user.groups.all())

    @admin.action(description="Sign out everywhere", permissions=["change"])
    def sign_out_everywhere(self, request, users):
        for user in users:
            record(request, Act.SIGNED_OUT_EVERYWHERE, account=user.get_username())
            user.end_sessions()
        self.message_user(request, "They are signed out everywhere.")

    @admin.action(description="Remove all second factors", permissions=["change"])
    def reset_second_factors(self, request, users):
        for user in users:
            second_factors.reset(user)
        self.message_user(request, "They have no second factor any more, and are signed out.")
