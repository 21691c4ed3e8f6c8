from django.db import models
from django.db.models.functions import Now

from .sets import IdsField


class Act(models.TextChoices):
    SIGNED_IN = "signed_in", "signed in"
    SIGN_IN_FAILED = "sign_in_failed", "failed to sign in"
    SIGN_IN_REFUSED = "sign_in_refused", "was refused at sign-in"
    LOCKED_OUT = "locked_out", "was locked out"
    SIGNED_OUT = "signed_out", "signed out"
    SIGNED_OUT_EVERYWHERE = "signed_out_all", "signed out everywhere"
    FACTOR_ADDED = "factor_added", "added a second factor"
    FACTOR_REMOVED = "factor_removed", "removed a second factor"
    PASSWORD_CHANGED = "password_changed", "changed their password"
    VIEWED = "viewed", "viewed"
    SEARCHED = "searched", "searched"
    EXPORTED = "exported", "exported"
    REVEALED = "revealed", "revealed personal data"
    EDITED = "edited", "edited"
    REDACTED = "redacted", "redacted"
    ERASED = "erased", "erased"
    PURGED = "purged", "purged"
    PRUNED = "pruned", "pruned the audit trail"
    UNDONE = "undone", "did not carry out after all"


class Entry(models.Model):
    """
    Who did what, when and from where. A database trigger refuses to change entries, except for a
    search that is still being typed, and to delete them except by audit_prune. No foreign keys:
    entries outlive the people and rows that they name.
    """

    at = models.DateTimeField("time", db_default=Now(), db_index=True)
    act = models.CharField(max_length=20, choices=Act)
    # None for commands, which act as SYSTEM, and for failed sign-ins, where the name is empty too.
    user_id = models.BigIntegerField(null=True)
    username = models.CharField(max_length=150, blank=True, db_index=True)
    # The names of the user's groups at that time. Code from before this column leaves it out.
    role = models.TextField(blank=True, db_default="")
    # Of a command.
    reason = models.TextField(blank=True, db_default="")
    address = models.GenericIPAddressField("IP address", null=True)
    request_id = models.CharField(max_length=64, blank=True)
    session_id = models.UUIDField("conversation", null=True)
    details = models.JSONField(default=dict)

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "entries"
        # For the admin panel's filters and searches.
        indexes = [
            models.Index(fields=["session_id", "-at"], name="audit_entry_of_conversation"),
            models.Index(fields=["act", "at"], name="audit_entry_of_act"),
            models.Index(fields=["address", "at"], name="audit_entry_from_address"),
            models.Index(fields=["request_id"], name="audit_entry_of_request"),
            models.Index(
                models.F("details__account"),
                condition=models.Q(act=Act.SIGN_IN_FAILED),
                name="audit_entry_of_failed_account",
            ),
            # accounts.lockout counts by it.
            models.Index(
                models.F("details__guessed"),
                condition=models.Q(act=Act.SIGN_IN_FAILED),
                name="audit_entry_of_guessed_name",
            ),
        ]

    def __str__(self):
        return f"{self.username or 'somebody'} {self.get_act_display()}"


class Seal(models.Model):
    """
    A link of the chain that shows what was done to entries since; audit.sealing makes it. The
    database refuses to change or delete seals. They are numbered without gaps.
    """

    class Kind(models.TextChoices):
        SEALED = "sealed"
        PRUNED = "pruned"

    id = models.BigIntegerField("number", primary_key=True)
    at = models.DateTimeField("time")
    kind = models.CharField(max_length=6, choices=Kind)
    # The entries that are sealed, or that audit_prune deletes.
    entries = IdsField()
    count = models.IntegerField()
    # The highest id that was sealed so far, and ids below it that may still be committed.
    last = models.BigIntegerField()
    missing = IdsField()
    # 16 bytes for each sealed entry, by id.
    digests = models.BinaryField()
    # How the digests and the hash are made; the key's name.
    form = models.SmallIntegerField()
    key = models.CharField(max_length=8)
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        default_permissions = ()

    def __str__(self):
        return f"seal {self.pk}"


class Text(models.Model):
    """What a fingerprint in entries stands for, as long as it may be read; see audit.texts."""

    fingerprint = models.CharField(max_length=33, primary_key=True)
    # Masked if the site masks personal data; `folded` is empty then.
    value = models.TextField()
    # For finding what an external id begins with, however it was written.
    folded = models.TextField()
    # Known to be one; others were typed as a search.
    is_external_id = models.BooleanField()
    # When it was last used.
    at = models.DateTimeField("time", db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self):
        return self.value
