from django.apps import AppConfig
from django.contrib.auth import signals


def signed_in(request, user, **kwargs):
    from .recording import Act, record, ways

    # login() sets request.user only if the request had that attribute.
    request.user = user
    record(request, Act.SIGNED_IN, **ways(request))


def signed_out(request, user, **kwargs):
    from .recording import Act, record

    if user is not None:
        record(request, Act.SIGNED_OUT)


class AuditConfig(AppConfig):
    name = "audit"
    verbose_name = "Audit log"

    def ready(self):
        from backoffice import jobs

        from . import checks, sealing  # noqa: F401

        jobs.every(sealing.EVERY_SECONDS, sealing.seal_if_due)
        signals.user_logged_in.connect(signed_in, dispatch_uid="audit")
        signals.user_logged_out.connect(signed_out, dispatch_uid="audit")
