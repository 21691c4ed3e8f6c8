from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Built concurrently, so it blocks nobody, however long the audit log is.
    atomic = False

    dependencies = [
        ("audit", "0002_sign_in"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="entry",
            index=models.Index(
                models.F("details__guessed"),
                condition=models.Q(("act", "sign_in_failed")),
                name="audit_entry_of_guessed_name",
            ),
        ),
    ]
