from django.db import migrations


def convert(apps, schema_editor):
    from audit import old_texts

    old_texts.convert(schema_editor.connection.alias)


class Migration(migrations.Migration):
    """
    Replaces external ids and searched texts in entries by fingerprints. It reads searches, exports
    and edits in batches of 500, and locks one batch at a time, each in its own transaction. So
    nobody waits for it, and it can be stopped and run again. Reversing it does nothing: older code
    shows fingerprints as they are.

    The trigger allows this because nothing is sealed yet, see 0007_texts.
    """

    atomic = False

    dependencies = [("audit", "0007_texts")]

    operations = [migrations.RunPython(convert, migrations.RunPython.noop)]
