from django.db import migrations

# Within three seconds, letters that a user adds to a search may update the details of its entry.
FUNCTION = """
    CREATE OR REPLACE FUNCTION audit_entry_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('desk.audit_prune', true) = 'on' THEN
            RETURN OLD;
        END IF;
        {exception}
        RAISE EXCEPTION 'The audit trail is append-only.';
    END $$;
"""
TYPED = """
        IF TG_OP = 'UPDATE' AND OLD.act = 'searched' AND OLD.at > now() - interval '3 seconds'
            AND to_jsonb(NEW) - 'details' = to_jsonb(OLD) - 'details'
        THEN
            RETURN NEW;
        END IF;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_guessed_names")]

    operations = [
        migrations.RunSQL(FUNCTION.format(exception=TYPED), FUNCTION.format(exception="")),
    ]
