from allauth.mfa.models import Authenticator


def reset(user):
    """Takes every second factor and session from whoever has lost one."""
    Authenticator.objects.filter(user=user).delete()
    user.end_sessions()
