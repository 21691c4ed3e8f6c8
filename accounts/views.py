import json

from allauth.account.internal.flows.login import record_authentication
from allauth.account.internal.stagekit import clear_login
from allauth.account.utils import perform_login
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.internal.auth import STATE_SESSION_KEY
from allauth.mfa.webauthn.views import LoginWebAuthnView
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.middleware.csrf import REASON_NO_CSRF_COOKIE
from django.shortcuts import redirect
from django.urls import reverse, reverse_lazy
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.decorators.http import require_POST
from django.views.generic import TemplateView

from audit.models import Act
from audit.recording import record
from backoffice import error_pages

from .forms import PasswordForm, SignInForm
from .lockout import record_refusal
from .middleware import SECOND_FACTOR

CHALLENGE = "passkey_challenge"
CHALLENGE_SECONDS = 300


class SignIn(auth.LoginView):
    """Asks for the password. allauth then asks for a second factor if the user has one."""

    template_name = "accounts/login.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get(self, request, *args, **kwargs):
        # A user who comes back here before entering the code starts again.
        clear_login(request)
        return super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs):
        provider = settings.OIDC_NAME if settings.OIDC_ISSUER else ""
        return super().get_context_data(provider=provider, **kwargs)

    def form_valid(self, form):
        user = form.get_user()
        record_authentication(self.request, user, "password")
        return perform_login(self.request, user, redirect_url=self.get_success_url())


class PasskeySignIn(LoginWebAuthnView):
    """
    Keeps the challenge in a signed cookie. If it were kept in a session, every visitor who opens
    the page would add a row to our database.
    """

    def get(self, request, *args, **kwargs):
        response = super().get(request, *args, **kwargs)
        if challenge := request.session.pop(STATE_SESSION_KEY, None):
            response.set_signed_cookie(
                CHALLENGE,
                json.dumps(challenge),
                salt=CHALLENGE,
                max_age=CHALLENGE_SECONDS,
                path=request.path,
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Strict",
            )
        return response

    def post(self, request, *args, **kwargs):
        challenge = request.get_signed_cookie(
            CHALLENGE, default=None, salt=CHALLENGE, max_age=CHALLENGE_SECONDS
        )
        if challenge:
            request.session[STATE_SESSION_KEY] = json.loads(challenge)
        response = super().post(request, *args, **kwargs)
        request.session.pop(STATE_SESSION_KEY, None)
        response.delete_cookie(CHALLENGE, path=request.path, samesite="Strict")
        return response

    def form_invalid(self, form):
        record_refusal(self.request, how="passkey", reason="unknown passkey")
        messages.error(self.request, "This passkey isn’t registered on this site.")
        return redirect("login")


class Account(TemplateView):
    template_name = "accounts/account.html"

    def get_context_data(self, **kwargs):
        user = self.request.user
        factors = list(Authenticator.objects.filter(user=user).order_by("created_at"))
        must = settings.REQUIRE_MFA and user.has_perm("accounts.use_admin")
        return super().get_context_data(
            app=next((each for each in factors if each.type == Authenticator.Type.TOTP), None),
            passkeys=[each for each in factors if each.type == Authenticator.Type.WEBAUTHN],
            codes=any(each.type == Authenticator.Type.RECOVERY_CODES for each in factors),
            must_enrol=must and self.request.session.get(SECOND_FACTOR) != user.pk,
            **kwargs,
        )


class ChangePassword(auth.PasswordChangeView):
    template_name = "accounts/password.html"
    form_class = PasswordForm
    success_url = reverse_lazy("account")

    def dispatch(self, request, *args, **kwargs):
        if not request.user.has_usable_password():
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form):
        record(self.request, Act.PASSWORD_CHANGED)
        messages.success(
            self.request, "Your password was changed. You were signed out everywhere else."
        )
        return super().form_valid(form)


SIGN_IN = {"login", "account_login", "mfa_authenticate", "mfa_login_webauthn"}


def csrf_failure(request, reason=""):
    """
    A sign-in form can be out of date because another tab has signed in or the session has ended.
    Then redirect into the site, or to a fresh form. A form from another site gets an error page.
    """
    match = request.resolver_match
    is_stale = reason == REASON_NO_CSRF_COOKIE or reason.startswith("CSRF token")
    if not is_stale or not match or match.view_name not in SIGN_IN:
        return error_pages.csrf_failure(request, reason)
    target = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(target, {request.get_host()}, request.is_secure()):
        target = ""
    if request.user.is_authenticated:
        return redirect(target or settings.LOGIN_REDIRECT_URL)
    query = {"next": target, "again": 1} if target else {"again": 1}
    return redirect(f"{reverse('login')}?{urlencode(query)}")


@require_POST
def choose_shortcuts(request):
    user, before = request.user, request.user.shortcuts
    user.shortcuts = "shortcuts" in request.POST
    if user.shortcuts != before:
        details = {"table": user._meta.db_table, "row": user.get_username()}
        after = {"shortcuts": user.shortcuts}
        with transaction.atomic():
            record(request, Act.EDITED, **details, before={"shortcuts": before}, after=after)
            user.save(update_fields=["shortcuts"])
    messages.success(request, f"Keyboard shortcuts are {'on' if user.shortcuts else 'off'}.")
    return redirect("account")


@require_POST
def sign_out_everywhere(request):
    record(request, Act.SIGNED_OUT_EVERYWHERE)
    request.user.end_sessions()
    return redirect("login")
