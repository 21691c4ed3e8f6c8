"""Redacting and erasing: first a preview, then a typed confirmation, then the change."""

import json
import uuid
from contextlib import contextmanager
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import Http404
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.functional import cached_property
from django.views.generic import FormView

from audit.recording import Act, record, recorded_change
from backoffice.databases.text import is_storable
from backoffice.databases.time_limits import TimeBudget, time_limit
from backoffice.error_pages import NO_WRITING, ChangeRefused, error_response, refusals
from privacy import masking

from ..access import agent_limits
from ..access.conversation_access import ConversationAccess
from ..models import ChatMessage, Session
from . import erasure, forgetting, locking, redaction
from .near import Form, Near
from .offers import Offer, Offers, look
from .spellings import Words

# Larger numbers are erased with manage.py purge.
MOST_AT_ONCE = 1_000
# Suggestions of each kind that the page for redacting shows, and limits for those chosen.
MOST_SHOWN = 30
MOST_CHOSEN, LONGEST_CHOSEN = 500, 1_000


STILL_WRITING = (
    "This conversation was still being written to, so the runtime may write the words again. "
    "Check again when the run has ended."
)
LATE_CALLS = (
    "The runtime was still writing to this conversation. Model calls that it records now keep "
    "their text until manage.py purge removes it."
)


@contextmanager
def changing():
    """For changing conversations that were first read within the user's limit."""
    with (
        agent_limits.lifted(),
        time_limit("agents_write", TimeBudget(locking.CHANGE_SECONDS)),
    ):
        yield


class RedactForm(forms.Form):
    words = forms.CharField(
        label="Words to remove",
        required=False,
        max_length=100_000,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    confirmation = forms.CharField(required=False)
    previewed = forms.CharField(required=False)
    all_offers = forms.BooleanField(required=False)

    def clean_words(self):
        words = self.cleaned_data["words"].replace("\r\n", "\n")
        if words and len(words.strip()) < redaction.SHORTEST:
            raise forms.ValidationError("Type at least two characters.")
        return words

    def clean(self):
        cleaned = super().clean()
        cleaned["near"] = list(dict.fromkeys(self.data.getlist("near")))
        cleaned["offers"] = set(self.data.getlist("offer"))
        sizes = [len(each.strip()) for each in cleaned["near"]]
        if len(sizes) > MOST_CHOSEN or any(
            not redaction.SHORTEST <= size <= LONGEST_CHOSEN for size in sizes
        ):
            raise forms.ValidationError("Choose from the list, or type the words above.")
        return cleaned


class ChangeView(ConversationAccess, FormView):
    """Shows a page if the database refuses a change."""

    def dispatch(self, request, *args, **kwargs):
        if "agents_write" not in settings.DATABASES and self.has_permission():
            return error_response(request, *NO_WRITING)
        try:
            return super().dispatch(request, *args, **kwargs)
        except ChangeRefused as refused:
            return error_response(request, *refused.args)


class RedactView(ChangeView):
    """Redacts a message, or words in it, in everything recorded about its conversation."""

    permission_required = ("conversations.view_session", "conversations.redact_session")
    template_name = "conversations/changes/redact.html"
    form_class = RedactForm
    word = "redact"

    @cached_property
    def message(self):
        session_id, message_id = self.kwargs["session_id"], self.kwargs["message_id"]
        return get_object_or_404(ChatMessage, session_id=session_id, pk=message_id)

    def get_context_data(self, **kwargs):
        if "offers" not in kwargs:
            kwargs |= self.suggestions("")
        kwargs |= {"message": self.message, "word": self.word, "masked": masking.is_active()}
        return super().get_context_data(**kwargs)

    def suggestions(self, words: str, near_chosen=(), chosen=()) -> dict:
        """Similar forms and personal data for the page, with those already chosen first."""
        session_id = self.message.session_id
        offers, near = Offers(session_id), Near(words)
        is_whole = look(session_id, "agents", offers, near)
        found = {form.text: form for form in near.forms()}
        forms = [found.pop(text, Form(text, 0)) for text in near_chosen]
        others = list(found.values())[:MOST_SHOWN]
        ordered = sorted(offers.all(), key=lambda offer: offer.token not in chosen)
        return {
            "near": [(form, True) for form in forms] + [(form, False) for form in others],
            "near_more": len(found) - len(others) or near.is_cut,
            "offers": [(each, each.token in chosen) for each in ordered[:MOST_SHOWN]],
            "offers_more": len(ordered[MOST_SHOWN:]),
            "looked_at_all": is_whole,
        }

    def chosen(self, form) -> list[Offer]:
        """The chosen offers; raises ValidationError if one no longer occurs."""
        tokens, everything = form.cleaned_data["offers"], form.cleaned_data["all_offers"]
        if not tokens and not everything:
            return []
        offers = Offers(self.message.session_id)
        look(self.message.session_id, "agents", offers)
        if tokens - {offer.token for offer in offers.all()}:
            raise forms.ValidationError("The conversation has changed. Choose from the list again.")
        return [offer for offer in offers.all() if everything or offer.token in tokens]

    def count(self, typed: list[str], known: list[str]) -> list[redaction.Found]:
        """How often the words occur. Typed words are searched for in texts as shown to the user."""
        session_id = self.message.session_id
        if not masking.is_active():
            return redaction.redact(session_id, [*typed, *known], using="agents", write=False)
        found = redaction.redact(session_id, typed, using="agents", write=False)
        with masking.active(False):
            others = redaction.redact(session_id, known, using="agents", write=False)
        return redaction.added(found, others)

    def digest(self, typed: list[str], known: list[str]) -> str:
        """Tells whether exactly this was previewed, without revealing what the user may not see."""
        return salted_hmac("redact", json.dumps([str(self.message.pk), typed, known])).hexdigest()

    def is_confirmed(self, form, previewed: str) -> bool:
        """Whether the user asked to redact what the page has shown. Adds an error if not quite."""
        is_typed = form.cleaned_data["confirmation"].strip() == self.word
        if "confirm" not in self.request.POST:
            # Enter in the field presses the page's first button, Preview.
            if is_typed and constant_time_compare(form.cleaned_data["previewed"], previewed):
                form.add_error("confirmation", "Choose the button Redact to remove these words.")
        elif not is_typed:
            form.add_error("confirmation", f"Type “{self.word}” to confirm.")
        elif not constant_time_compare(form.cleaned_data["previewed"], previewed):
            form.add_error(
                "confirmation",
                "Nothing was redacted, because this is not what you previewed: you changed it, or "
                f"the conversation has changed. Check the numbers and type “{self.word}” again.",
            )
        else:
            return True
        return False

    def form_valid(self, form):
        session_id = self.message.session_id
        words, near = form.cleaned_data["words"], form.cleaned_data["near"]
        try:
            chosen = self.chosen(form)
        except forms.ValidationError as error:
            form.add_error(None, error)
            return self.form_invalid(form)
        typed = [each for each in (words, *near) if each]
        known = [offer.text for offer in chosen]
        if not typed and not known:
            known = [masking.raw(self.message.content)]
        previewed = self.digest(typed, known)
        if not self.is_confirmed(form, previewed):
            found = self.count(typed, known)
            context = self.get_context_data(
                form=form,
                previewed=previewed,
                found=found,
                times=sum(each.times for each in found),
                going_on=locking.may_be_written([session_id], "agents"),
                **self.suggestions(words, near, {offer.token for offer in chosen}),
            )
            return self.render_to_response(context)
        # The audit trail may keep no more than the length of the words.
        change = recorded_change(
            self.request,
            Act.REDACTED,
            session_id=session_id,
            characters=sum(map(len, [*typed, *known])),
        )
        # Only if the external id changes: an entry that this page writes later may hold the words.
        external_id = masking.raw(self.message.session.external_id or "")
        ids = [session_id] if Words([*typed, *known]).spans(external_id) else []
        with forgetting.forgetting(ids), change as details, refusals(), changing():
            found = redaction.redact_all(session_id, [*typed, *known])
            details |= {each.label: each.times for each in found}
        times = sum(each.times for each in found)
        text = f"Redacted in {times} place{'' if times == 1 else 's'}."
        messages.success(self.request, text)
        if locking.may_be_written([session_id], "agents_write"):
            messages.warning(self.request, STILL_WRITING)
        page = reverse("conversations:detail", args=[session_id])
        return redirect(f"{page}?m={self.message.pk}#message-{self.message.pk}")


class EraseForm(forms.Form):
    confirmation = forms.CharField(strip=True)

    def __init__(self, *args, words, **kwargs):
        self.words = words
        super().__init__(*args, **kwargs)

    def clean_confirmation(self):
        if self.cleaned_data["confirmation"] != self.words:
            raise forms.ValidationError(f"Type “{self.words}” to confirm.")
        return self.words


class EraseView(ChangeView):
    """Erases one conversation."""

    permission_required = ("conversations.view_session", "conversations.erase_session")
    template_name = "conversations/changes/erase.html"
    form_class = EraseForm

    @cached_property
    def session(self):
        return get_object_or_404(Session, pk=self.kwargs["session_id"])

    @cached_property
    def ids(self) -> list[uuid.UUID]:
        return [self.session.pk]

    @property
    def words(self) -> str:
        """What must be typed: it names what is erased, so a form for something else is refused."""
        return f"erase {str(self.session.pk)[:8]}"

    def others(self) -> int:
        """How many other conversations have the external id; 0 if masked: a link would show it."""
        if not self.session.external_id or masking.is_active():
            return 0
        same = Session.objects.with_external_id(self.session.external_id)
        return same.exclude(pk=self.session.pk)[: MOST_AT_ONCE + 1].count()

    def get_form_kwargs(self):
        return super().get_form_kwargs() | {"words": self.words}

    def get_context_data(self, **kwargs):
        return super().get_context_data(
            counts=erasure.count(self.ids, "agents"),
            words=self.words,
            external_id=self.session.external_id,
            session=self.session,
            going_on=locking.may_be_written(self.ids, "agents"),
            others=self.others(),
            too_many=False,
            **kwargs,
        )

    def form_valid(self, form):
        change = recorded_change(self.request, Act.ERASED, session_id=self.named())
        going_on = locking.may_be_written(self.ids, "agents_write")
        with forgetting.forgetting(self.ids), change as details, refusals(), changing():
            locking.lock(self.ids)
            counts = erasure.erase(self.ids)
            details |= counts.as_details()
            if not self.named():
                details["ids"] = [str(each) for each in counts.ids]
        number = counts.going["conversations"]
        text = f"Erased {number} conversation{'' if number == 1 else 's'}."
        messages.success(self.request, text)
        if going_on:
            messages.warning(self.request, LATE_CALLS)
        return redirect("conversations:list")

    def named(self) -> uuid.UUID | None:
        """The conversation that the audit entry names."""
        return self.session.pk


class EraseAllView(EraseView):
    """Erases all conversations with one external id, whatever their agents."""

    @cached_property
    def external_id(self) -> str:
        external_id = self.request.GET.get("external_id", "")
        if not external_id or not is_storable(external_id):
            raise Http404
        return external_id

    @cached_property
    def ids(self):
        same = Session.objects.with_external_id(self.external_id).order_by("id")
        ids = list(same.values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
        if not ids:
            raise Http404
        return ids

    def dispatch(self, request, *args, **kwargs):
        try:
            response = super().dispatch(request, *args, **kwargs)
        except Http404:
            self.record_guess()
            raise
        if response.status_code == 200:
            self.record_guess()
        return response

    def record_guess(self):
        """Either response reveals whether a conversation has this external id."""
        query = urlencode({"external_id": self.request.GET.get("external_id", "")})
        page = self.request.resolver_match.url_name
        record(self.request, Act.SEARCHED, page=page, query=query)

    @property
    def words(self):
        # If the number changes, the typed words no longer match and the form is shown again.
        return f"erase {len(self.ids)} conversation{'' if len(self.ids) == 1 else 's'}"

    def get_context_data(self, **kwargs):
        return FormView.get_context_data(
            self,
            counts=erasure.count(self.ids, "agents"),
            words=self.words,
            external_id=self.external_id,
            going_on=locking.may_be_written(self.ids, "agents"),
            too_many=len(self.ids) > MOST_AT_ONCE,
            most=MOST_AT_ONCE,
            **kwargs,
        )

    def form_valid(self, form):
        if len(self.ids) > MOST_AT_ONCE:
            return self.form_invalid(form)
        return super().form_valid(form)

    def named(self):
        return None
