import sys

from django.apps import AppConfig
from django.core.signals import got_request_exception
from django.db.backends.signals import connection_created

from backoffice.databases.errors import OTHER_TABLES, sqlstate

from .access.connections import limit_to_agents, mask_texts
from .agentdb import revision
from .agentdb.connections import clamp_times


def refresh_schema_cache(sender, **kwargs):
    """The tables may have changed since we looked: the next request looks again."""
    if sqlstate(sys.exc_info()[1]) in OTHER_TABLES:
        from .agentdb import compiled

        revision.forget()
        compiled.forget()


class ConversationsConfig(AppConfig):
    name = "conversations"

    def ready(self):
        from backoffice import jobs

        from .agentdb import checks  # noqa: F401
        from .changes import forgetting

        jobs.every(forgetting.EVERY_SECONDS, forgetting.forget_old)
        got_request_exception.connect(refresh_schema_cache, dispatch_uid="refresh_schema_cache")
        connection_created.connect(clamp_times, dispatch_uid="clamp_times")
        connection_created.connect(mask_texts, dispatch_uid="mask_texts")
        connection_created.connect(limit_to_agents, dispatch_uid="limit_to_agents")
