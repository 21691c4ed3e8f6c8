"""Helpers for tests of the admin panel: addresses, a row of each table, forms as in a browser."""

import re
import uuid
from html.parser import HTMLParser
from types import SimpleNamespace

from django.urls import reverse

from .factories import (
    Json,
    insert,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)

EDITABLE = {
    "agent": {"name", "description"},
    "session": {"external_id", "agent"},
    "chatmessage": {"role", "content"},
}
PAYLOAD = Json({"deep": ["payload-word"]})


def list_url(model):
    return reverse(f"admin:conversations_{model}_changelist")


def form_url(model, pk):
    return reverse(f"admin:conversations_{model}_change", args=[pk])


def make_rows(**session) -> SimpleNamespace:
    """One conversation with a row in each table: a namespace of rows by their model's name."""
    schemas = dict.fromkeys(("input_schema", "output_schema", "workflow"), PAYLOAD)
    agent = make_agent("Shop", description="Sells", **schemas)
    conversation = make_session(agent, **{"external_id": "ticket-7", **session})
    run = make_run(conversation, **dict.fromkeys(("input_data", "output_data", "context"), PAYLOAD))
    payloads = dict.fromkeys(("inputs", "output", "errors"), PAYLOAD)
    task = make_task(
        run,
        conversation,
        "look-up",
        "tool_call",
        prompt="prompt-word",
        tool_uri="python://shop/look_up",
        parent_task_name="answer",
        seq=3,
        **payloads,
    )
    message = make_message(conversation, content="content-word", run_id=run.id)
    call = make_model_call(
        conversation, run, agent_id=agent.id, request_data=PAYLOAD, response_data=PAYLOAD
    )
    return SimpleNamespace(
        agent=agent,
        session=conversation,
        run=run,
        task=task,
        chatmessage=message,
        modelcall=call,
    )


class Inputs(HTMLParser):
    """{name: value} of the form with this id, as a browser would send it."""

    def __init__(self, form_id):
        super().__init__()
        self.form_id, self.inside, self.area = form_id, False, None
        self.values = {}

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            self.inside = attrs.get("id") == self.form_id
        elif self.inside and "name" in attrs and tag == "input" and attrs["type"] != "submit":
            # A single-line input has no line breaks.
            self.values[attrs["name"]] = re.sub(r"[\r\n]", "", attrs.get("value", ""))
        elif self.inside and "name" in attrs and tag == "textarea":
            self.area = attrs["name"]
            self.values[self.area] = ""

    def handle_data(self, data):
        if self.area:
            self.values[self.area] += data

    def handle_endtag(self, tag):
        if tag == "form":
            self.inside = False
        elif tag == "textarea" and self.area:
            text = re.sub(r"\r\n?", "\n", self.values[self.area])
            # A line break at the beginning of a text area is not part of its text.
            text = text.removeprefix("\n")
            self.values[self.area] = text.replace("\n", "\r\n")
            self.area = None


def inputs(response, model) -> dict[str, str]:
    parser = Inputs(f"{model}_form")
    parser.feed(response.content.decode())
    parser.values.pop("csrfmiddlewaretoken", None)
    return parser.values


def open_form(client, model, pk) -> dict[str, str]:
    response = client.get(form_url(model, pk))
    assert response.status_code == 200
    return inputs(response, model)


def save(client, model, pk, form=None, /, **changes):
    """The response after opening the form, typing the changes and pressing Save."""
    form = open_form(client, model, pk) if form is None else form
    return client.post(form_url(model, pk), {**form, **changes})


def lone_call(**fields):
    """A model call of a conversation that was deleted long ago."""
    values = {"call_type": "llm", "model": "m", "session_id": uuid.uuid4(), **fields}
    return insert("model_call_stats", **values)
