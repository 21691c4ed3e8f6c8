"""Forms that ask for a password or a code. Each limits how often somebody can guess."""

import re

from allauth.account.forms import ReauthenticateForm
from allauth.core import context
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms as mfa
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.utils import decrypt
from allauth.mfa.webauthn import forms as webauthn
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.core.exceptions import ValidationError
from django.db import DatabaseError

from .lockout import LockedOut, guess


class SignInForm(AuthenticationForm):
    def clean(self):
        if not {"username", "password"} <= self.cleaned_data.keys():
            return super().clean()
        return guess(self.request, self.cleaned_data["username"], "password", super().clean)


class PasswordForm(PasswordChangeForm):
    """Limits guesses, so that whoever finds an open session cannot try out passwords."""

    def clean_old_password(self):
        username = self.user.get_username()
        check = super().clean_old_password
        return guess(context.request, username, "password, once more", check)


class PasswordAgainForm(ReauthenticateForm):
    def clean_password(self):
        password = self.cleaned_data["password"]

        def check():
            if not self.user.check_password(password):
                raise ValidationError("That is not your password.")
            return password

        return guess(context.request, self.user.get_username(), "password, once more", check)


class OneTimeCode:
    """Limits guesses, and accepts each code once."""

    how = "code"

    def clean_code(self):
        def check():
            code = super(OneTimeCode, self).clean_code()
            self.refuse_used(code)
            return code

        return guess(context.request, self.user.get_username(), self.how, check)

    def refuse_used(self, code):
        """Refuse an app's code that was used before: allauth only remembers that per process."""
        if self.authenticator.type != Authenticator.Type.TOTP:
            return
        data = self.authenticator.data
        secret = decrypt(data["secret"])
        typed = totp.normalize_user_code(code)
        for counter in totp.yield_hotp_counters_from_time():
            shown = totp.format_hotp_value(totp.hotp_value(secret, counter))
            if shown == typed and counter > data.get("last_counter", 0):
                data["last_counter"] = counter
                self.authenticator.save(update_fields=["data"])
                return
        raise get_adapter().validation_error("incorrect_code")


# Escapes that PostgreSQL's jsonb refuses.
UNSTORABLE = re.compile(r"\\u(?:0000|d[89a-f])", re.IGNORECASE)


class AnyCredential:
    """
    Treats any error while parsing a passkey's answer as an invalid answer: for a forged one, the
    parsing libraries raise all kinds of exceptions.
    """

    def full_clean(self):
        try:
            super().full_clean()
            # The whole answer gets stored, including fields that nobody asked for.
            if UNSTORABLE.search(self.data.get("credential", "")):
                raise ValueError
        except (DatabaseError, LockedOut):
            raise
        except Exception:  # noqa: BLE001
            self.add_error("credential", get_adapter().validation_error("incorrect_code"))


class AddPasskeyForm(AnyCredential, webauthn.AddWebAuthnForm):
    pass


class PasskeySignInForm(AnyCredential, webauthn.LoginWebAuthnForm):
    pass


class PasskeyForm(AnyCredential, webauthn.AuthenticateWebAuthnForm):
    """A passkey as the second factor."""


class CodeForm(OneTimeCode, mfa.AuthenticateForm):
    pass


class CodeAgainForm(OneTimeCode, mfa.ReauthenticateForm):
    how = "code, once more"
