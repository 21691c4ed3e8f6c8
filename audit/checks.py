from django.conf import settings
from django.core import checks


@checks.register(checks.Tags.security, deploy=True)
def audit_key(app_configs, **kwargs):
    if settings.AUDIT_KEY:
        return []
    return [
        checks.Warning(
            "AUDIT_KEY is not set, so SECRET_KEY seals the audit trail and makes stand-ins.",
            hint="Give it at least 50 random characters, and keep it when SECRET_KEY changes: "
            "seals of a key that is gone cannot be checked, and masked people get other stand-ins.",
            id="audit.W001",
        )
    ]
