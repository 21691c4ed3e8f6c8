"""Which database holds a model's rows."""


class Router:
    """Conversations live in the agent database, everything else in ours."""

    def db_for_read(self, model, **hints):
        return "agents" if model._meta.app_label == "conversations" else "default"

    def db_for_write(self, model, **hints):
        from django.conf import settings

        if model._meta.app_label != "conversations":
            return "default"
        return "agents_write" if "agents_write" in settings.DATABASES else "agents"

    def allow_relation(self, one, other, **hints):
        # `agents` and `agents_write` are the same database; relations never cross databases.
        apps = {one._meta.app_label, other._meta.app_label}
        return "conversations" not in apps or len(apps) == 1

    def allow_migrate(self, db, app_label, **hints):
        return db == "default" and app_label != "conversations"
