from importlib import import_module

from django.db import migrations

ADMIN = [
    ("overview", "threshold", f"{action}_threshold", f"Can {action} threshold of an agent")
    for action in ("add", "change", "delete", "view")
]


def grant(apps, schema_editor):
    import_module("accounts.migrations.0002_groups").grant(apps, {"Admin": ADMIN})


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_shortcuts")]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
