from importlib import import_module

from django.db import migrations

SUPPORT = [
    (
        "conversations",
        "session",
        "reveal_session",
        "Can reveal the personal data of a conversation",
    ),
]
ADMIN = [
    *SUPPORT,
    ("conversations", "session", "view_personal_data", "Can see personal data"),
    ("conversations", "session", "redact_session", "Can redact conversations"),
    ("conversations", "session", "erase_session", "Can erase conversations"),
    ("audit", "entry", "view_entry", "Can view entry"),
]
GROUPS = {"Support": SUPPORT, "Admin": ADMIN}


def grant(apps, schema_editor):
    import_module("accounts.migrations.0002_groups").grant(apps, GROUPS)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_groups")]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
