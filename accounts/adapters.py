"""How allauth behaves on this site."""

import logging
import time

import qrcode
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode

from audit.models import Act
from audit.recording import address, record
from backoffice.error_pages import error_response

from . import second_factors

logger = logging.getLogger(__name__)


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request):
        return False

    def is_safe_url(self, url):
        return url_has_allowed_host_and_scheme(
            url, {context.request.get_host()}, require_https=context.request.is_secure()
        )

    def respond_user_inactive(self, request, user):
        record(request, Act.SIGN_IN_REFUSED, account=user.get_username(), reason="inactive")
        return error_response(
            request,
            403,
            "This account is inactive",
            "Someone with the Admin role can activate it.",
        )

    def login(self, request, user):
        # The account may have been deactivated since the user entered their password.
        if not user.is_active:
            raise ImmediateHttpResponse(self.respond_user_inactive(request, user))
        super().login(request, user)

    def is_reauthentication_required(self, *, app, **kwargs):
        records = get_authentication_records(self.request, self.request.user)
        latest = max((each["at"] for each in records), default=0)
        required = time.time() - latest > settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
        if required and not second_factors.reauthentication_methods(self.request.user):
            # allauth lets users through if it knows no way for them to reauthenticate.
            raise ImmediateHttpResponse(self.ask_provider(self.request))
        return required

    def ask_provider(self, request):
        if settings.OIDC_ISSUER and request.user.identity:
            target = urlencode({"next": request.get_full_path()})
            return redirect(f"{reverse('provider')}?{target}")
        return error_response(
            request,
            403,
            "Please sign in again",
            "You signed in a while ago. To change how you sign in, sign out, sign in again and "
            "make the change then.",
        )

    def get_reauthentication_methods(self, user):
        return second_factors.reauthentication_methods(user)

    def add_message(self, request, level, message_template=None, *args, message=None, **kwargs):
        """Drop allauth's own messages, such as "signed in": the page shows who the user is."""
        if message:
            super().add_message(request, level, message=message)

    def get_client_ip(self, request):
        return address(request) or ""


class MFAAdapter(DefaultMFAAdapter):
    def encrypt(self, text):
        return second_factors.encrypt(text)

    def decrypt(self, encrypted_text):
        try:
            return second_factors.decrypt(encrypted_text)
        except second_factors.Unreadable:
            logger.error("A second factor cannot be read: another SECRET_KEY encrypted it.")
            response = error_response(
                context.request,
                503,
                "Your second factor can’t be checked",
                "If you have a passkey, sign in with it. Otherwise, ask someone with the Admin "
                "role to remove your second factors.",
            )
            raise ImmediateHttpResponse(response) from None

    def get_totp_issuer(self):
        return "Conversation Desk"

    def build_totp_svg(self, url):
        """The SVG path of the QR code, for a viewBox of 100 by 100."""
        code = qrcode.QRCode(border=2)
        code.add_data(url)
        rows = code.get_matrix()
        side = 100 / len(rows)
        return "".join(
            f"M{x * side:.3f} {y * side:.3f}h{side:.3f}v{side:.3f}h-{side:.3f}z"
            for y, row in enumerate(rows)
            for x, dark in enumerate(row)
            if dark
        )

    def generate_authenticator_name(self, user, type):
        return "Passkey"

    def get_public_key_credential_rp_entity(self):
        return {**super().get_public_key_credential_rp_entity(), "name": "Conversation Desk"}
