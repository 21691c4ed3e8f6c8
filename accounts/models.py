from uuid import UUID

from django.contrib.auth.models import AbstractUser, Group, UserManager
from django.contrib.postgres.fields import ArrayField
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.models import F
from django.utils.crypto import salted_hmac
from django.utils.functional import cached_property

# With these, a user with a limit could lift it, or read what others did with conversations.
NOT_WITH_A_LIMIT = ("accounts", "audit", "auth")

GRANTED = """
    SELECT app_label || '.' || codename
    FROM (
        SELECT permission_id FROM accounts_user_user_permissions WHERE user_id = %(user)s
        UNION ALL
        SELECT permission_id
        FROM accounts_user_groups JOIN auth_group_permissions USING (group_id)
        WHERE user_id = %(user)s
    ) AS granted
    JOIN auth_permission ON auth_permission.id = permission_id
    JOIN django_content_type ON django_content_type.id = content_type_id
"""
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
    Members of the group see only conversations of its agents, and of the agents of their other
    limited groups. Agents live in another database, where one may be gone.
    """

    # A group with a limit cannot be deleted: its members would see everything.
    group = models.OneToOneField(Group, models.PROTECT, related_name="agent_limit")
    agents = ArrayField(models.UUIDField())

    class Meta:
        default_permissions = ()
        verbose_name = "limit to certain agents"

    def __str__(self):
        return f"{self.group} sees certain agents only"


class OfGroups(models.Func):
    """What a user's groups say, as JSON. Subqueries of Django's take a millisecond to build."""

    def __init__(self, template: str):
        super().__init__(models.F("pk"), template=template, output_field=models.JSONField())


class Users(UserManager):
    """Loads users with their groups' names and limits, to save each request two queries."""

    use_in_migrations = False

    def get_queryset(self):
        return (
            super()
            .get_queryset()
            .annotate(limits_of_groups=OfGroups(LIMITS), names_of_groups=OfGroups(NAMES))
        )


class User(AbstractUser):
    objects = Users()

    # Every session holds a hash of this: increasing it ends them all.
    sign_outs = models.PositiveIntegerField(default=0, editable=False)
    # Issuer and subject of a user who has signed in at the provider; an e-mail address may change
    # hands there.
    identity = models.TextField(unique=True, null=True, editable=False)

    class Meta(AbstractUser.Meta):
        permissions = [("use_admin", "Can use the admin panel")]

    @cached_property
    def role(self) -> str:
        """What the audit trail records beside the name."""
        if not hasattr(self, "names_of_groups"):
            # Just created, or reached from another row.
            self.names_of_groups = type(self).objects.get(pk=self.pk).names_of_groups
        names = sorted(self.names_of_groups or ())
        return ", ".join(["superuser", *names] if self.is_superuser else names)

    @cached_property
    def agent_limit(self) -> frozenset[UUID] | None:
        """The agents whose conversations this user sees; None for all."""
        if self.is_superuser:
            return None
        if not hasattr(self, "limits_of_groups"):
            # Just created, or reached from another row.
            self.limits_of_groups = type(self).objects.get(pk=self.pk).limits_of_groups
        if self.limits_of_groups is None:
            return None
        return frozenset(UUID(agent) for limit in self.limits_of_groups for agent in limit)

    @cached_property
    def granted(self) -> frozenset[str]:
        """
        The user's own permissions and those of their groups. Every page asks for them, and Django's
        two queries take seven times as long.
        """
        with connections[self._state.db or DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute(GRANTED, {"user": self.pk})
            return frozenset(name for (name,) in cursor.fetchall())

    def has_perm(self, perm, obj=None):
        # Like Django's own backend, the only one here: nothing is granted on single objects.
        if not self.is_active or not (self.is_superuser or (obj is None and perm in self.granted)):
            return False
        app = perm.partition(".")[0]
        allowed = app not in NOT_WITH_A_LIMIT or perm == "accounts.use_admin"
        return allowed or self.agent_limit is None

    def told(self) -> dict:
        """
        What the audit trail records of an account; instead of the password, whether there is one.
        """
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
        """End all sessions of this user, at their next request."""
        type(self).objects.filter(pk=self.pk).update(sign_outs=F("sign_outs") + 1)
        self.refresh_from_db(fields=["sign_outs"])
