from django.apps import AppConfig
from django.contrib.auth import get_user_model, signals


def signed_in(request, user, **kwargs):
    from .recording import Act, record

    # Signing in has not put the user into the request yet where the session is new.
    request.user = user
    record(request, Act.SIGNED_IN)


def sign_in_failed(credentials, request=None, **kwargs):
    from .recording import Act, record

    # Whatever else was typed may be a password in the wrong field.
    name = str(credentials.get("username", ""))[:150]
    known = "\0" not in name and get_user_model().objects.filter(username=name).exists()
    record(request, Act.SIGN_IN_FAILED, account=name if known else None)


def signed_out(request, user, **kwargs):
    from .recording import Act, record

    if user is not None:
        record(request, Act.SIGNED_OUT)


class AuditConfig(AppConfig):
    name = "audit"

    def ready(self):
        signals.user_logged_in.connect(signed_in, dispatch_uid="audit")
        signals.user_login_failed.connect(sign_in_failed, dispatch_uid="audit")
        signals.user_logged_out.connect(signed_out, dispatch_uid="audit")
