from django.db import migrations, models

import audit.sets

# Until now, `SET desk.audit_prune` was enough to delete entries. From now on that takes a
# checkpoint, which stays, and which audit_verify only accepts if it was made with AUDIT_KEY. The
# table is named with its schema, because a temporary table of that name would be found first. The
# three seconds for extending a search are measured with clock_timestamp(), because now() stands
# still during a transaction.
FUNCTION = """
    CREATE OR REPLACE FUNCTION audit_entry_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        pruned boolean;
    BEGIN
        IF TG_OP = 'DELETE' THEN
            EXECUTE format(
                'SELECT entries @> $1 FROM %I.audit_seal WHERE kind = ''pruned'''
                ' ORDER BY id DESC LIMIT 1',
                TG_TABLE_SCHEMA
            ) INTO pruned USING OLD.id;
            IF pruned THEN
                RETURN OLD;
            END IF;
        ELSIF OLD.act = 'searched'
            AND OLD.at BETWEEN clock_timestamp() - interval '3 seconds' AND clock_timestamp()
            AND to_jsonb(NEW) - 'details' = to_jsonb(OLD) - 'details'
        THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'The audit trail is append-only.';
    END $$;
"""
BEFORE = """
    CREATE OR REPLACE FUNCTION audit_entry_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('desk.audit_prune', true) = 'on' THEN
            RETURN OLD;
        END IF;
        IF TG_OP = 'UPDATE' AND OLD.act = 'searched' AND OLD.at > now() - interval '3 seconds'
            AND to_jsonb(NEW) - 'details' = to_jsonb(OLD) - 'details'
        THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'The audit trail is append-only.';
    END $$;
"""
# Seals can never be changed or deleted.
SEALS = """
    CREATE TRIGGER audit_seal_append_only BEFORE UPDATE OR DELETE ON audit_seal
    FOR EACH ROW EXECUTE FUNCTION audit_never_emptied();
    CREATE TRIGGER audit_seal_never_emptied BEFORE TRUNCATE ON audit_seal
    FOR EACH STATEMENT EXECUTE FUNCTION audit_never_emptied();
"""
UNDO = """
    DROP TRIGGER audit_seal_append_only ON audit_seal;
    DROP TRIGGER audit_seal_never_emptied ON audit_seal;
"""


class Migration(migrations.Migration):
    """Locks no table in use. From here on, audit_prune of the previous release cannot delete."""

    dependencies = [("audit", "0005_role_and_reason")]

    operations = [
        migrations.CreateModel(
            name="Seal",
            fields=[
                (
                    "id",
                    models.BigIntegerField(
                        primary_key=True, serialize=False, verbose_name="number"
                    ),
                ),
                ("at", models.DateTimeField(verbose_name="time")),
                (
                    "kind",
                    models.CharField(
                        choices=[("sealed", "Sealed"), ("pruned", "Pruned")], max_length=6
                    ),
                ),
                ("entries", audit.sets.IdsField()),
                ("count", models.IntegerField()),
                ("last", models.BigIntegerField()),
                ("missing", audit.sets.IdsField()),
                ("digests", models.BinaryField()),
                ("form", models.SmallIntegerField()),
                ("key", models.CharField(max_length=8)),
                ("previous", models.CharField(max_length=64)),
                ("hash", models.CharField(max_length=64)),
            ],
            options={"default_permissions": ()},
        ),
        migrations.RunSQL(SEALS, UNDO),
        migrations.RunSQL(FUNCTION, BEFORE),
    ]
