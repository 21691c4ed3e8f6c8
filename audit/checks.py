from django.conf import settings
from django.core import checks


@checks.register(checks.Tags.security, deploy=True)
def audit_key(app_configs, **kwargs):
    if settings.AUDIT_KEY:
        return []
    return [
        checks.Warning(
            "AUDIT_KEY is not set, so SECRET_KEY seals the audit log and makes stand-ins.",
            hint="Give it at least 50 random characters, and keep it when SECRET_KEY changes. "
            "Without the old key, seals cannot be checked, and masked people get new stand-ins.",
            id="audit.W001",
        )
    ]
