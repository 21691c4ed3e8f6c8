from django.db import migrations


def convert(apps, schema_editor):
    from audit import old_texts

    old_texts.convert(schema_editor.connection.alias)


class Migration(migrations.Migration):
    """
    Puts fingerprints where entries hold external ids and what was searched for. It reads searches,
    exports and edits, and locks those of a batch of 500 at a time, each batch in a transaction of
    its own: nobody waits for it, and it can be run again after a stop. Backwards it does nothing:
    the former code shows fingerprints.

    The trigger lets this pass because nothing is sealed yet, see 0007_texts.
    """

    atomic = False

    dependencies = [("audit", "0007_texts")]

    operations = [migrations.RunPython(convert, migrations.RunPython.noop)]
