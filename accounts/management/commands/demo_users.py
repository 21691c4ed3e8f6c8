import secrets

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import transaction

from audit.commands import AuditedCommand
from audit.models import Act
from audit.recording import record

DEMO_USERS = {"support": "Support", "admin": "Admin"}


class Command(AuditedCommand):
    help = "Creates the demo users support and admin, with DEMO_PASSWORD or a random password."
    requires_system_checks = []

    def handle(self, **options):
        given = settings.DEMO_PASSWORD
        users = get_user_model().objects
        if given or not users.filter(username__in=DEMO_USERS).exists():
            password = given or secrets.token_urlsafe(9)
            for username, group in DEMO_USERS.items():
                make(username, group, password)
            shown = "DEMO_PASSWORD" if given else f"the password {password}"
            self.stdout.write(f"Sign in as support or admin with {shown}")
        else:
            self.stdout.write(
                "Sign in as support or admin with the password shown at the first start; "
                "DEMO_PASSWORD=… make run sets another."
            )


@transaction.atomic
def make(username: str, group: str, password: str):
    user, created = get_user_model().objects.get_or_create(username=username)
    user.set_password(password)
    user.save()
    user.groups.add(Group.objects.get(name=group))
    change = {"before": {}, "after": {"password": "changed"}}
    if created:
        change = {"before": None, "after": user.audit_details()}
    record(None, Act.EDITED, table=user._meta.db_table, row=username, **change)
