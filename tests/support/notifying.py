"""Runs `manage.py notify` at chosen moments, and reads what it sent."""

from datetime import timedelta
from io import StringIO

from django.core.management import CommandError, call_command
from django.utils import timezone

from overview.models import Progress

from .factories import NULL, Json, make_message, make_run, make_session, make_task
from .figures import last_quarter

# Early enough for two hours to pass.
START = last_quarter() - timedelta(hours=3)
QUARTER = timedelta(minutes=15)
WEEK = timedelta(days=7)


class Notifying:
    """The clock, the servers that messages go to, and what the command said."""

    def __init__(self, monkeypatch, settings, mail, web):
        self.monkeypatch, self.settings, self.mail, self.web = monkeypatch, settings, mail, web
        self.said, self.has_failed = "", False

    def run(self, now=START, as_of=None) -> list[str]:
        """The texts of the messages that were mailed; the same must arrive at the webhook."""
        before = len(self.mail.received)
        self.try_to_run(now, as_of)
        assert not self.has_failed, self.said
        assert len(self.web.received) == len(self.mail.received)
        return [text_of(mail) for mail in self.mail.received[before:]]

    def try_to_run(self, now=START, as_of=None, *arguments):
        Progress.objects.update(as_of=as_of or now)
        out = StringIO()
        with self.monkeypatch.context() as patch:
            patch.setattr(timezone, "now", lambda: now)
            self.has_failed = False
            try:
                call_command("notify", *arguments, stdout=out, stderr=out)
            except CommandError as error:
                self.has_failed = True
                out.write(str(error))
        self.said = out.getvalue()


def text_of(mail) -> str:
    return mail.get_content().replace("\r\n", "\n")


def active(agent, at=START - QUARTER, number=1, has_problem=False):
    """Conversations at this moment, of which each has one message and one run."""
    for _ in range(number):
        moment = {"created_at": at, "updated_at": at}
        session = make_session(agent, **moment)
        make_message(session, **moment)
        make_run(session, **moment, **({"output_data": NULL} if has_problem else {}))


def error(agent, text, at=START - QUARTER, name="look_up"):
    moment = {"created_at": at, "updated_at": at}
    session = make_session(agent, **moment)
    run = make_run(session, **moment)
    output = Json({"result": f"Error: {text}"})
    make_task(run, session, name, "tool_call", output=output, **moment)
