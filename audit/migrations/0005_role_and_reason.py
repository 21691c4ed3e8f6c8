from django.db import migrations, models

# Adding columns with a constant default rewrites nothing, but ALTER TABLE and CREATE TRIGGER lock
# the table for a moment. They wait for transactions that have written to it, and meanwhile
# everybody else waits for them. So they give up after five seconds; then run `migrate` again.
PATIENCE = "SET LOCAL lock_timeout = '5s'"
# TRUNCATE does not fire row triggers.
NEVER_EMPTIED = """
    CREATE FUNCTION audit_never_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'The audit trail is append-only.';
    END $$;
    CREATE TRIGGER audit_entry_never_emptied BEFORE TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_never_emptied();
"""
UNDO = """
    DROP TRIGGER audit_entry_never_emptied ON audit_entry;
    DROP FUNCTION audit_never_emptied();
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0004_typed_searches")]

    operations = [
        migrations.RunSQL(PATIENCE, PATIENCE),
        migrations.AddField("entry", "role", models.TextField(blank=True, db_default="")),
        migrations.AddField("entry", "reason", models.TextField(blank=True, db_default="")),
        migrations.RunSQL(NEVER_EMPTIED, UNDO),
    ]
