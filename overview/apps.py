from django.apps import AppConfig
from django.conf import settings


class OverviewConfig(AppConfig):
    name = "overview"

    def ready(self):
        from backoffice import jobs
        from conversations.changes.telling import changed

        from . import telling
        from .rollup import passes

        changed.connect(telling.note, dispatch_uid="overview")
        if settings.ROLLUP:
            jobs.every(passes.EVERY_SECONDS, passes.roll_up_by_itself)
