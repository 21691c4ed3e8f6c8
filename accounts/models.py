from uuid import UUID

from django.contrib.auth.models import AbstractUser, Group, UserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F
from django.utils.crypto import salted_hmac
from django.utils.functional import cached_property

# Apps whose permissions do not count for a user with an agent limit: they could lift the limit, or
# read in the audit log about other agents' conversations.
NOT_WITH_A_LIMIT = ("accounts", "audit", "auth")

PERMISSIONS = """(
    SELECT jsonb_agg(app_label || '.' || codename)
    FROM (
        SELECT permission_id
        FROM accounts_user_user_permissions
        WHERE user_id = %(expressions)s
        UNION ALL
        SELECT permission_id
        FROM accounts_user_groups JOIN auth_group_permissions USING (group_id)
        WHERE user_id = %(expressions)s
    ) AS granted
    JOIN auth_permission ON auth_permission.id = permission_id
    JOIN django_content_type ON django_content_type.id = content_type_id
)"""
LIMITS = """(
    SELECT jsonb_agg(agents)
    FROM accounts_user_groups JOIN accounts_agentlimit USING (group_id)
    WHERE user_id = %(expressions)s
)"""
NAMES = """(
    SELECT jsonb_agg(name)
    FROM accounts_user_groups JOIN auth_group ON auth_group.id = group_id
    WHERE user_id = %(expressions)s
)"""


class AgentLimit(models.Model):
    """
    Members of the group only see conversations with these agents, and with the agents of their
    other limited groups. Agents are in another database, so an id here may no longer exist there.
    """

    # Protected: if a limited group were deleted, its members would see everything.
    group = models.OneToOneField(Group, models.PROTECT, related_name="agent_limit")
    agents = ArrayField(models.UUIDField())

    class Meta:
        default_permissions = ()
        verbose_name = "limit to certain agents"

    def __str__(self):
        return f"{self.group} only sees certain agents"


class OfUser(models.Func):
    """
    A JSON list about each user. In plain SQL, because Django takes a millisecond to build such a
    subquery.
    """

    def __init__(self, template: str):
        super().__init__(models.F("pk"), template=template, output_field=models.JSONField())


class Users(UserManager):
    """
    Loads users with their permissions and their groups' names and limits. Every page needs them,
    and this saves three queries.
    """

    use_in_migrations = False

    def get_queryset(self):
        return (
            super()
            .get_queryset()
            .annotate(
                permissions=OfUser(PERMISSIONS),
                limits_of_groups=OfUser(LIMITS),
                names_of_groups=OfUser(NAMES),
            )
        )


class User(AbstractUser):
    objects = Users()

    # Part of the hash in every session of the user, so increasing it ends them all.
    sign_outs = models.PositiveIntegerField(default=0, editable=False)
    # The issuer and subject of a user who has signed in at the provider. We do not match by e-mail
    # address after that, because an address can pass to another person.
    identity = models.TextField(unique=True, null=True, editable=False)

    # Whether letters alone are keyboard shortcuts.
    shortcuts = models.BooleanField(default=True, db_default=True, editable=False)

    class Meta(AbstractUser.Meta):
        permissions = [("use_admin", "Can use the admin panel")]

    @cached_property
    def role(self) -> str:
        """The names of the user's groups, which the audit log records beside the user name."""
        names = sorted(self.loaded("names_of_groups") or ())
        return ", ".join(["superuser", *names] if self.is_superuser else names)

    @cached_property
    def agent_limit(self) -> frozenset[UUID] | None:
        """The ids of the agents whose conversations this user may see; None if all of them."""
        if self.is_superuser:
            return None
        limits = self.loaded("limits_of_groups")
        if limits is None:
            return None
        return frozenset(UUID(agent) for limit in limits for agent in limit)

    @cached_property
    def granted(self) -> frozenset[str]:
        """The user's own permissions and those of their groups."""
        return frozenset(self.loaded("permissions") or ())

    def loaded(self, name: str) -> list | None:
        """What Users annotates; read now if the user was just created or came with another row."""
        user = self if hasattr(self, name) else type(self).objects.get(pk=self.pk)
        return getattr(user, name)

    def has_perm(self, perm, obj=None):
        # As in Django's ModelBackend, nothing is granted on single objects.
        if not self.is_active or not (self.is_superuser or (obj is None and perm in self.granted)):
            return False
        app = perm.partition(".")[0]
        allowed = app not in NOT_WITH_A_LIMIT or perm == "accounts.use_admin"
        return allowed or self.agent_limit is None

    def audit_details(self) -> dict:
        """What the audit log records of an account. Of the password, only whether there is one."""
        return {
            "name": self.get_username(),
            "first_name": self.first_name,
            "last_name": self.last_name,
            "email": self.email,
            "is_active": self.is_active,
            "is_superuser": self.is_superuser,
            "groups": sorted(self.groups.values_list("name", flat=True)),
            "password": self.has_usable_password(),
        }

    def _get_session_auth_hash(self, secret=None):
        value = f"{self.sign_outs}:{self.password}"
        return salted_hmac("accounts.session", value, secret=secret, algorithm="sha256").hexdigest()

    def end_sessions(self):
        """End all sessions of this user. Each ends at its next request."""
        type(self).objects.filter(pk=self.pk).update(sign_outs=F("sign_outs") + 1)
        self.refresh_from_db(fields=["sign_outs"])
