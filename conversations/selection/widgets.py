"""
The filters' widgets. Each writes its own HTML, since Django's templates for fields and options took
a third of the list's time.
"""

import re
from html import escape

from django import forms
from django.forms.utils import flatatt
from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .agents import labels, with_activity

# What browsers' date pickers send, always in ASCII digits.
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
TIME = re.compile(DATE.pattern + r"T[0-9]{2}:[0-9]{2}(:[0-9]{2})?")


class QuickInput(forms.TextInput):
    def render(self, name, value, attrs=None, renderer=None):
        widget = self.get_context(name, value, attrs)["widget"]
        own = (flatatt({key: widget[key]}) for key in ("type", "name", "value"))
        return format_html("<input{}{}{}{}>", *own, flatatt(widget["attrs"]))


class HiddenInput(QuickInput):
    input_type = "hidden"


class SearchInput(QuickInput):
    input_type = "search"


class MomentInput(QuickInput):
    """
    A date picker, a picker for date and time if the value has a time, or a text field if the value
    is neither.
    """

    def get_context(self, name, value, attrs):
        context = super().get_context(name, value, attrs)
        text = context["widget"]["value"] or ""
        # A picker would not show a value that is not a date.
        try:
            is_moment = parse_datetime(text) is not None
        except ValueError:
            is_moment = False
        if not text or (is_moment and DATE.fullmatch(text)):
            kind = "date"
        elif is_moment and TIME.fullmatch(text):
            kind = "datetime-local"
            if len(text) > len("2026-11-23T14:30"):
                # Without a step of 1, the picker would not accept other seconds.
                context["widget"]["attrs"]["step"] = 1
        else:
            kind = "text"
        context["widget"]["type"] = kind
        return context


class QuickSelect(forms.Select):
    def render(self, name, value, attrs=None, renderer=None):
        chosen = str(value or "")
        # html.escape(): Django's takes ten times as long.
        options = (
            f'<option value="{escape(key)}"{" selected" if key == chosen else ""}>'
            f"{escape(label)}</option>"
            for key, label in ((str(key), str(label)) for key, label in self.pairs())
        )
        attrs = flatatt({"name": name, **self.build_attrs(self.attrs, attrs)})
        return SafeString(f"<select{attrs}>{''.join(options)}</select>")

    def pairs(self):
        """(value, label) of each option."""
        return self.choices


class AgentSelect(QuickSelect):
    """For a ModelChoiceField of agents. Does not create a model instance for each agent."""

    @cached_property
    def labels(self) -> dict:
        return labels(list(self.choices.queryset.values_list("pk", "name")))

    def pairs(self):
        yield "", self.choices.field.empty_label
        yield from with_activity(self.labels).items()
