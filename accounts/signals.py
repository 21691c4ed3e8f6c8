"""Updates the session and the audit log when a user signs in or changes second factors."""

import time

from allauth.core import context
from allauth.mfa import signals as mfa
from allauth.mfa.models import Authenticator
from django.contrib.auth import signals as auth
from django.contrib.auth import update_session_auth_hash
from django.db.models.signals import pre_delete, pre_save
from django.dispatch import receiver

from audit.models import Act
from audit.recording import record

from .middleware import SECOND_FACTOR, SEEN, STARTED


@receiver(auth.user_logged_in)
def started(request, user, **kwargs):
    request.session[STARTED] = request.session[SEEN] = int(time.time())


# Recorded before the change is made. allauth's own signals only come afterwards.


@receiver(pre_save, sender=Authenticator)
def adding(instance, **kwargs):
    if instance.pk is None:
        record_factor(Act.FACTOR_ADDED, instance)


@receiver(pre_delete, sender=Authenticator)
def removing(instance, **kwargs):
    record_factor(Act.FACTOR_REMOVED, instance)


def record_factor(act, factor):
    record(context.request, act, account=factor.user.get_username(), factor=factor.type)


@receiver(mfa.authenticator_used)
def used(request, user, **kwargs):
    request.session[SECOND_FACTOR] = user.pk


@receiver([mfa.authenticator_added, mfa.authenticator_removed])
def changed(request, user, **kwargs):
    """End the user's other sessions, and note in this one whether they have a second factor."""
    if Authenticator.objects.filter(user=user).exists():
        request.session[SECOND_FACTOR] = user.pk
    else:
        request.session.pop(SECOND_FACTOR, None)
    user.end_sessions()
    update_session_auth_hash(request, user)
