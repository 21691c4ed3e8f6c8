from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import F
from django.utils.crypto import salted_hmac


class User(AbstractUser):
    # Every session holds a hash of it: counting it up ends them all.
    sign_outs = models.PositiveIntegerField(default=0, editable=False)
    # Issuer and subject of whoever has signed in at the provider; an e-mail address may change
    # hands there.
    identity = models.TextField(unique=True, null=True, editable=False)

    class Meta(AbstractUser.Meta):
        permissions = [("use_admin", "Can use the admin panel")]

    def _get_session_auth_hash(self, secret=None):
        value = f"{self.sign_outs}:{self.password}"
        return salted_hmac("accounts.session", value, secret=secret, algorithm="sha256").hexdigest()

    def end_sessions(self):
        """All of them, at their next request."""
        type(self).objects.filter(pk=self.pk).update(sign_outs=F("sign_outs") + 1)
        self.refresh_from_db(fields=["sign_outs"])
