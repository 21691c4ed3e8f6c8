"""What a session is told when somebody signs in or changes how."""

import time

from allauth.mfa import signals as mfa
from allauth.mfa.models import Authenticator
from django.contrib.auth import signals as auth
from django.contrib.auth import update_session_auth_hash
from django.dispatch import receiver

from audit.models import Act
from audit.recording import record

from .middleware import SECOND_FACTOR, SEEN, STARTED


@receiver(auth.user_logged_in)
def started(request, user, **kwargs):
    request.session[STARTED] = request.session[SEEN] = int(time.time())


@receiver(mfa.authenticator_used)
def used(request, user, **kwargs):
    request.session[SECOND_FACTOR] = user.pk


@receiver(mfa.authenticator_added)
def added(request, user, authenticator, **kwargs):
    record(request, Act.FACTOR_ADDED, factor=authenticator.type)
    request.session[SECOND_FACTOR] = user.pk
    end_other_sessions(request)


@receiver(mfa.authenticator_reset)
def renewed(request, user, authenticator, **kwargs):
    record(request, Act.FACTOR_ADDED, factor=authenticator.type)


@receiver(mfa.authenticator_removed)
def removed(request, user, authenticator, **kwargs):
    record(request, Act.FACTOR_REMOVED, factor=authenticator.type)
    if not Authenticator.objects.filter(user=user).exists():
        request.session.pop(SECOND_FACTOR, None)
    end_other_sessions(request)


def end_other_sessions(request):
    request.user.end_sessions()
    update_session_auth_hash(request, request.user)
