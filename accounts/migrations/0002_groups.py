from django.db import migrations

TABLES = {
    "agent": "agent",
    "session": "conversation",
    "run": "run",
    "task": "task",
    "chatmessage": "chat message",
    "modelcall": "model call",
}
VIEWER = [("conversations", "session", "view_session", "Can view conversation")]
SUPPORT = [
    *VIEWER,
    ("conversations", "session", "export_session", "Can export conversations"),
    ("conversations", "session", "work_on_session", "Can work on conversations"),
]
ADMIN = [
    *SUPPORT,
    *(
        ("conversations", model, f"{action}_{model}", f"Can {action} {name}")
        for model, name in TABLES.items()
        for action in ("view", "change", "delete")
        if (model, action) != ("session", "view")
    ),
    ("accounts", "user", "use_admin", "Can use the admin panel"),
    *(
        (app, model, f"{action}_{model}", f"Can {action} {model}")
        for app, model in [("accounts", "user"), ("auth", "group")]
        for action in ("add", "change", "delete", "view")
    ),
]
GROUPS = {"Viewer": VIEWER, "Support": SUPPORT, "Admin": ADMIN}


def create_groups(apps, schema_editor):
    grant(apps, GROUPS)


def grant(apps, groups):
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    Group = apps.get_model("auth", "Group")
    for group_name, wanted in groups.items():
        group, _ = Group.objects.get_or_create(name=group_name)
        for app_label, model, codename, name in wanted:
            # Django creates missing permissions after all migrations. It finds these in place.
            content_type, _ = ContentType.objects.get_or_create(app_label=app_label, model=model)
            permission, _ = Permission.objects.get_or_create(
                content_type=content_type, codename=codename, defaults={"name": name}
            )
            group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(create_groups, migrations.RunPython.noop)]
