from django.db import migrations, models

# As in 0006. Also, as long as there is no seal, a transaction that sets desk.audit_fingerprints may
# change the details of entries: 0008 and the first seal put fingerprints there.
FUNCTION = """
    CREATE OR REPLACE FUNCTION audit_entry_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        allowed boolean := false;
    BEGIN
        IF TG_OP = 'DELETE' THEN
            EXECUTE format(
                'SELECT entries @> $1 FROM %I.audit_seal WHERE kind = ''pruned'''
                ' ORDER BY id DESC LIMIT 1',
                TG_TABLE_SCHEMA
            ) INTO allowed USING OLD.id;
            IF allowed THEN
                RETURN OLD;
            END IF;
        ELSIF to_jsonb(NEW) - 'details' = to_jsonb(OLD) - 'details' THEN
            IF OLD.act = 'searched'
                AND OLD.at BETWEEN clock_timestamp() - interval '3 seconds' AND clock_timestamp()
            THEN
                RETURN NEW;
            END IF;
            IF current_setting('desk.audit_fingerprints', true) = 'on' THEN
                EXECUTE format('SELECT NOT EXISTS (SELECT FROM %I.audit_seal)', TG_TABLE_SCHEMA)
                INTO allowed;
            END IF;
            IF allowed THEN
                RETURN NEW;
            END IF;
        END IF;
        RAISE EXCEPTION 'The audit trail is append-only.';
    END $$;
"""
BEFORE = """
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


class Migration(migrations.Migration):
    """Locks no table in use."""

    dependencies = [("audit", "0006_seals")]

    operations = [
        migrations.CreateModel(
            name="Text",
            fields=[
                (
                    "fingerprint",
                    models.CharField(max_length=33, primary_key=True, serialize=False),
                ),
                ("value", models.TextField()),
                ("folded", models.TextField()),
                ("is_external_id", models.BooleanField()),
                ("at", models.DateTimeField(db_index=True, verbose_name="time")),
            ],
            options={"default_permissions": ()},
        ),
        migrations.RunSQL(FUNCTION, BEFORE),
    ]
