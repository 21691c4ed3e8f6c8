"""Only the parts of allauth that we use: no sign-up, and no password reset by e-mail."""

from allauth.account.views import ReauthenticateView
from allauth.mfa.base.views import AuthenticateView
from allauth.mfa.base.views import ReauthenticateView as ReauthenticateByCodeView
from allauth.mfa.recovery_codes.views import GenerateRecoveryCodesView, ViewRecoveryCodesView
from allauth.mfa.totp.views import ActivateTOTPView, DeactivateTOTPView
from allauth.mfa.webauthn.views import AddWebAuthnView, RemoveWebAuthnView
from django.contrib.auth.views import LogoutView
from django.urls import path

from . import provider, views


def page(view, name):
    return view.as_view(template_name=f"accounts/{name}.html")


sign_in, account = views.SignIn.as_view(), views.Account.as_view()

urlpatterns = [
    path("", account, name="account"),
    path("login/", sign_in, name="login"),
    path("login/code/", page(AuthenticateView, "code"), name="mfa_authenticate"),
    path("login/passkey/", views.PasskeySignIn.as_view(), name="mfa_login_webauthn"),
    path("login/provider/", provider.start, name="provider"),
    path("login/provider/callback/", provider.callback, name="provider_callback"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("logout/everywhere/", views.sign_out_everywhere, name="sign_out_everywhere"),
    path("shortcuts/", views.choose_shortcuts, name="choose_shortcuts"),
    path("password/", views.ChangePassword.as_view(), name="change_password"),
    path("again/", page(ReauthenticateView, "again"), name="account_reauthenticate"),
    path("again/code/", page(ReauthenticateByCodeView, "again"), name="mfa_reauthenticate"),
    path("app/add/", page(ActivateTOTPView, "app"), name="mfa_activate_totp"),
    path("app/remove/", page(DeactivateTOTPView, "remove"), name="mfa_deactivate_totp"),
    path("codes/", page(ViewRecoveryCodesView, "codes"), name="mfa_view_recovery_codes"),
    path(
        "codes/new/",
        page(GenerateRecoveryCodesView, "new_codes"),
        name="mfa_generate_recovery_codes",
    ),
    path("passkeys/add/", page(AddWebAuthnView, "passkey"), name="mfa_add_webauthn"),
    path(
        "passkeys/<int:pk>/remove/", page(RemoveWebAuthnView, "remove"), name="mfa_remove_webauthn"
    ),
    # Names that allauth redirects to.
    path("login/", sign_in, name="account_login"),
    path("", account, name="mfa_index"),
    path("", account, name="mfa_list_webauthn"),
]
