from allauth.mfa.models import Authenticator

from audit.models import Act
from audit.recording import record


def reset(request, user):
    """Takes every second factor and session from whoever has lost one."""
    record(request, Act.FACTOR_REMOVED, account=user.get_username(), factor="all, by an admin")
    Authenticator.objects.filter(user=user).delete()
    user.end_sessions()
