from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db import transaction

from audit.models import Act
from audit.recording import record
from backoffice.error_pages import error_response
from conversations.models import Agent

from . import second_factors
from .audited_admin import OWN_ACCESS, AuditedAdmin, can_sign_in
from .models import AgentLimit, User

# Authenticators hold secrets, and nothing here reads allauth's copy of the e-mail addresses.
admin.site.unregister([EmailAddress, Authenticator])
# Registered again below, with the agent limit.
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(AuditedAdmin, DjangoUserAdmin):
    """Roles are groups: no single permissions, and no flags that bypass them."""

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
    lookups = frozenset({"groups__id__exact", "is_active__exact"})
    actions = ["sign_out_everywhere", "reset_second_factors"]

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("groups")

    def has_delete_permission(self, request, obj=None):
        return obj != request.user and super().has_delete_permission(request, obj)

    def audit_details(self, user):
        return user.audit_details()

    def user_change_password(self, request, id, form_url=""):
        removes_own = "unset-password" in request.POST and id == str(request.user.pk)
        if removes_own and not can_sign_in(request.user, without_password=True):
            # Checked first: changing the password also changes the session, which a rollback of the
            # database would not restore.
            return error_response(request, 403, *OWN_ACCESS)
        return self.guarded(self.password_changed, request, id, form_url)

    @transaction.atomic
    def password_changed(self, request, id, form_url):
        user = self.get_object(request, unquote(id))
        response = super().user_change_password(request, id, form_url)
        before = user.password
        user.refresh_from_db(fields=["password"])
        if user.password != before:
            details = {"table": self.opts.db_table, "row": user.get_username()}
            after = {"password": "changed" if user.has_usable_password() else "removed"}
            record(request, Act.EDITED, **details, before={}, after=after)
        return response

    @admin.display(description="Roles")
    def roles(self, user):
        return ", ".join(group.name for group in user.groups.all())

    @admin.action(description="Sign out everywhere", permissions=["change"])
    def sign_out_everywhere(self, request, users):
        for user in users:
            record(request, Act.SIGNED_OUT_EVERYWHERE, account=user.get_username())
            user.end_sessions()
        self.message_user(request, "The selected users were signed out everywhere.")

    @admin.action(description="Remove all second factors", permissions=["change"])
    def reset_second_factors(self, request, users):
        for user in users:
            second_factors.reset(user, request)
        self.message_user(
            request, "The selected users were signed out and their second factors removed."
        )


class AgentLimitForm(forms.ModelForm):
    agents = forms.TypedMultipleChoiceField(
        coerce=UUID,
        widget=forms.CheckboxSelectMultiple,
        help_text=(
            "Members of this group only see conversations with the agents ticked here and with "
            "agents ticked in their other limited groups. To let them see everything, delete the "
            "limit."
        ),
        error_messages={
            "required": "Tick at least one agent. To let this group see everything, delete the "
            "limit."
        },
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        names = {each.pk: str(each) for each in Agent.objects.only("name").order_by("name", "id")}
        gone = (pk for pk in self.instance.agents or () if pk not in names)
        deleted = ((pk, f"{pk} (no longer exists)") for pk in gone)
        self.fields["agents"].choices = [*names.items(), *deleted]


class AgentLimitInline(admin.StackedInline):
    model = AgentLimit
    form = AgentLimitForm

    def has_change_permission(self, request, obj=None):
        return request.user.has_perm("auth.change_group")

    has_view_permission = has_add_permission = has_delete_permission = has_change_permission


@admin.register(Group)
class GroupAdmin(AuditedAdmin, DjangoGroupAdmin):
    """The three roles cannot be renamed or deleted, because the site finds them by name."""

    inlines = [AgentLimitInline]

    def has_delete_permission(self, request, obj=None):
        return not is_role(obj) and super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request, obj=None):
        return ["name"] if is_role(obj) else []

    def audit_details(self, group):
        permissions = group.permissions.values_list("content_type__app_label", "codename")
        return {
            "name": group.name,
            "permissions": sorted(map(".".join, permissions)),
            "members": sorted(group.user_set.values_list("username", flat=True)),
        }

    def save_related(self, request, form, formsets, change):
        group = form.instance
        before = agents_of(group)
        super().save_related(request, form, formsets, change)
        after = agents_of(group)
        if before != after:
            details = {"table": AgentLimit._meta.db_table, "row": group.name}
            record(request, Act.EDITED, **details, before=before, after=after)


def is_role(group: Group | None) -> bool:
    return group is not None and group.name in ("Viewer", "Support", "Admin")


def agents_of(group: Group) -> list[str] | None:
    """The ids of the agents that a group is limited to; None if it is not limited."""
    found = AgentLimit.objects.filter(group=group).values_list("agents", flat=True).first()
    return None if found is None else sorted(map(str, found))
