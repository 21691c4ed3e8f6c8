from django.db import migrations, models

ACTS = [
    ("signed_in", "signed in"),
    ("sign_in_failed", "failed to sign in"),
    ("sign_in_refused", "was refused at sign-in"),
    ("locked_out", "was locked out"),
    ("signed_out", "signed out"),
    ("signed_out_all", "signed out everywhere"),
    ("factor_added", "added a second factor"),
    ("factor_removed", "removed a second factor"),
    ("password_changed", "changed their password"),
    ("viewed", "viewed"),
    ("searched", "searched"),
    ("exported", "exported"),
    ("revealed", "revealed personal data"),
    ("edited", "edited"),
    ("redacted", "redacted"),
    ("erased", "erased"),
    ("purged", "purged"),
    ("pruned", "pruned the audit log"),
    ("undone", "rolled back a change"),
]


class Migration(migrations.Migration):
    """Only changes labels, and nothing in the database."""

    dependencies = [("audit", "0008_fingerprints")]

    operations = [
        migrations.AlterField(
            "entry", "act", models.CharField("action", max_length=20, choices=ACTS)
        ),
    ]
