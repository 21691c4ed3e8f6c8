"""How `manage.py notify` sends messages: claimed, confirmed, tried again, and to nobody else."""

import logging
import socket
import ssl
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connections

from accounts.models import AgentLimit
from overview.models import Notice
from overview.notify import outbox, webhook
from overview.notify.not_sent import NotSent

from ..errors.test_errors import build_indexes
from ..support.environment import start
from ..support.factories import make_agent
from ..support.figures import roll_up
from ..support.notifying import QUARTER, START, error
from ..support.receivers import web_server
from ..support.signing_in import make_user

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def begun(notifying):
    """After the first run: whatever happens now is new."""
    build_indexes()
    roll_up()
    notifying.run()
    return notifying


def happen(text="gone", name="Shop"):
    error(make_agent(name), text)


# Once


def test_all_addresses_get_one_mail(begun):
    happen()
    begun.run()
    [mail] = begun.mail.received
    assert mail["To"] == "ann@example.com, ben@example.com"
    assert mail["From"] == "desk@example.com"
    assert mail["Auto-Submitted"] == "auto-generated"


def test_what_was_not_taken_is_tried_again_and_nothing_else(begun):
    begun.web.status = 500
    happen()
    begun.try_to_run()
    assert begun.said == "Sent 1 message.\nwebhook: the webhook answered with status 500"
    begun.web.status = 200
    begun.mail.refuses = True
    begun.try_to_run(START + timedelta(minutes=5))
    assert begun.said == "Sent 1 message.\n"
    assert (len(begun.mail.received), len(begun.web.received)) == (1, 2)
    assert begun.web.received[0][2] == begun.web.received[1][2]
    begun.try_to_run(START + 2 * QUARTER)
    assert begun.said == "Sent 0 messages.\n"


def test_a_mail_server_that_refuses_is_not_quoted(begun):
    begun.mail.refuses = True
    happen()
    begun.try_to_run()
    assert "mail: the mail server did not take it (SMTPSenderRefused)" in begun.said
    assert "kingfisher" not in begun.said


def test_a_sent_text_is_not_kept(begun):
    happen()
    begun.run()
    assert set(Notice.objects.values_list("subject", "text")) == {("", "")}


def test_whoever_is_killed_while_sending_is_followed_by_another(begun, monkeypatch):
    def killed(subject, text):
        raise KeyboardInterrupt

    happen()
    with monkeypatch.context() as patch:
        patch.setitem(outbox.CHANNELS, "mail", killed)
        with pytest.raises(KeyboardInterrupt):
            begun.try_to_run()
    begun.try_to_run(START + timedelta(minutes=5))
    assert len(begun.mail.received) == 0
    begun.try_to_run(START + timedelta(minutes=11))
    assert (len(begun.mail.received), len(begun.web.received)) == (1, 1)


def test_after_a_day_nobody_wants_to_know_any_more(begun):
    begun.mail.refuses = True
    happen()
    begun.try_to_run()
    begun.try_to_run(START + timedelta(hours=25))
    assert "1 could not be sent for a day" in begun.said
    begun.mail.refuses = False
    begun.try_to_run(START + timedelta(hours=26))
    assert not begun.mail.received


def test_an_hour_has_so_many_messages_and_the_rest_comes_later_in_one(begun):
    begun.settings.NOTIFY_PER_HOUR = 2
    told = []
    for minutes, letter in enumerate("abcdef"):
        happen(f"{letter}{letter} gone")
        told += begun.run(START + timedelta(minutes=minutes))
    assert len(told) == 2
    [text] = begun.run(START + HOUR + timedelta(minutes=1))
    assert text.count("Tool call failed") == 4


@pytest.mark.django_db(transaction=True)
def test_two_at_once_send_one(begun):
    happen()
    barrier = threading.Barrier(2)

    def run():
        try:
            barrier.wait(10)
            call_command("notify", verbosity=0)
        finally:
            connections.close_all()

    for _ in range(3):
        with ThreadPoolExecutor(2) as threads:
            for each in [threads.submit(run) for _ in range(2)]:
                assert each.result() is None
    assert (len(begun.mail.received), len(begun.web.received)) == (1, 1)


def test_a_channel_that_is_no_longer_set_up_gets_nothing(begun):
    begun.web.status = 500
    happen()
    begun.try_to_run()
    begun.settings.NOTIFY_WEBHOOK_SECRET = ""
    begun.try_to_run(START + QUARTER)
    assert begun.said == "Sent 0 messages.\n"


# To whom


def test_whoever_may_see_only_some_agents_gets_no_mail(begun):
    group = Group.objects.create(name="Certain agents")
    AgentLimit.objects.create(group=group, agents=[make_agent().id])
    make_user("ben", email="Ben@Example.com").groups.add(group)
    happen()
    begun.run()
    assert begun.mail.received[0]["To"] == "ann@example.com"
    begun.settings.NOTIFY_EMAILS = ["ben@example.com"]
    happen("something else")
    begun.try_to_run()
    assert "may see only some agents" in begun.said
    assert len(begun.mail.received) == 1


def test_a_test_says_that_it_is_one(notifying):
    notifying.try_to_run(START, None, "--test")
    assert notifying.said == "Sent 2 messages.\n"
    assert notifying.mail.received[0]["Subject"] == "Conversation Desk: test"
    assert "arrive here" in notifying.web.received[0][2]["text"]


def test_without_a_recipient_there_is_nothing_to_do(notifying):
    notifying.settings.NOTIFY_EMAILS = []
    notifying.settings.NOTIFY_WEBHOOK_SECRET = ""
    notifying.try_to_run()
    assert "Set NOTIFY_EMAILS or NOTIFY_WEBHOOK." in notifying.said


HOSTILE = "<!channel> <https://evil.example|Shop> & \u202eSons\n\n- Bank\x07" + "x" * 100


def test_a_hostile_name_stays_text_in_one_line(begun):
    happen(name=HOSTILE)
    [text] = begun.run()
    assert "Tool call failed, <!channel> <https://evil.example|Shop> & Sons - Bankxxx" in text
    assert "x…: 1 time" in text
    posted = begun.web.received[0][2]["text"]
    assert "&lt;!channel&gt; &lt;https://evil.example|Shop&gt; &amp; Sons" in posted
    assert "<" not in posted


# The webhook


@pytest.mark.parametrize("status", [200, 204, 302, 404, 500])
def test_the_webhooks_address_is_never_said(begun, status, caplog, capfd):
    caplog.set_level(logging.INFO)
    begun.web.status = status
    happen()
    begun.try_to_run()
    assert begun.web.received[0][0] == "/kingfisher"
    assert begun.has_failed is (status >= 300)
    begun.settings.NOTIFY_WEBHOOK_SECRET = "http://127.0.0.1:9/kingfisher"
    begun.try_to_run(START + QUARTER)
    assert "kingfisher" not in begun.said + caplog.text + "".join(capfd.readouterr())


def test_a_redirect_is_not_followed(begun):
    begun.web.status = 302
    happen()
    begun.try_to_run()
    assert "the webhook answered with status 302" in begun.said
    assert [path for path, *_ in begun.web.received] == ["/kingfisher"]


def test_a_private_address_is_refused_unless_it_is_allowed(begun):
    begun.settings.NOTIFY_WEBHOOK_PRIVATE = False
    happen()
    begun.try_to_run()
    assert "the webhook has a private address" in begun.said
    assert not begun.web.received


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
    ],
)
def test_which_addresses_are_public(address, is_public):
    assert webhook.is_public(address) is is_public


def resolve(monkeypatch, *addresses):
    """Lets every host have these addresses; returns the hosts that were looked up by name."""
    asked = []
    real = socket.getaddrinfo

    def answer(host, port, *args, **kwargs):
        if host.replace(".", "").isdigit():
            return real(host, port, *args, **kwargs)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


def test_the_host_is_looked_up_once_and_connected_to_at_the_checked_address(settings, monkeypatch):
    asked = resolve(monkeypatch, "127.0.0.1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    settings.NOTIFY_WEBHOOK_PRIVATE = True
    with web_server() as web:
        settings.NOTIFY_WEBHOOK_SECRET = f"http://hooks.example:{web.port}/services/T1?a=b"
        webhook.send("Subject", "Text")
    assert asked == ["hooks.example"]
    [(path, headers, body)] = web.received
    assert (path, headers["Host"]) == ("/services/T1?a=b", f"hooks.example:{web.port}")
    assert headers["Content-Type"] == "application/json"
    assert body == {"text": "Subject\n\nText"}


def test_one_private_address_among_public_ones_is_enough_to_refuse(settings, monkeypatch):
    resolve(monkeypatch, "8.8.8.8", "10.0.0.1")
    settings.NOTIFY_WEBHOOK_SECRET = "https://hooks.example/x"
    settings.NOTIFY_WEBHOOK_PRIVATE = False
    with pytest.raises(NotSent, match="private address"):
        webhook.send("Subject", "Text")


@pytest.mark.parametrize(("name", "is_taken"), [("hooks.example", True), ("other.example", False)])
def test_a_certificate_must_be_the_hosts(settings, monkeypatch, tmp_path, name, is_taken):
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    subprocess.run([*command, *subject, *files], check=True, capture_output=True)
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(tmp_path / "cert.pem"))
    resolve(monkeypatch, "127.0.0.1")
    settings.NOTIFY_WEBHOOK_PRIVATE = True
    with web_server() as web:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        web.socket = context.wrap_socket(web.socket, server_side=True)
        settings.NOTIFY_WEBHOOK_SECRET = f"https://hooks.example:{web.port}/x"
        if is_taken:
            webhook.send("Subject", "Text")
        else:
            with pytest.raises(NotSent, match="cannot be reached"):
                webhook.send("Subject", "Text")
    assert len(web.received) == is_taken


# Settings


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"NOTIFY_EMAILS": "ann"}, "'ann' is not an e-mail address"),
        ({"NOTIFY_EMAILS": "ann@example.com"}, "NOTIFY_EMAILS needs EMAIL_HOST and EMAIL_FROM"),
        ({"EMAIL_USE_TLS": "1", "EMAIL_USE_SSL": "1"}, "Only one of EMAIL_USE_TLS"),
        ({"SITE_URL": "desk.example.com"}, "SITE_URL must be like https://"),
        ({"NOTIFY_PER_HOUR": "0"}, "NOTIFY_PER_HOUR must be between"),
        *(
            ({"NOTIFY_WEBHOOK": address}, "NOTIFY_WEBHOOK must be an address like")
            for address in (
                "canary",
                "ftp://a/canary",
                "https://u:canary@a/",
                "http://a:99999/canary",
            )
        ),
    ],
)
def test_a_bad_setting_stops_the_start_and_a_secret_is_not_quoted(environment, words):
    code, _, said = start(**environment)
    assert code == 1
    assert words in said
    assert "canary" not in said


@pytest.mark.thorough
def test_djangos_error_pages_hide_the_webhook():
    shown = (
        "__import__('django.views.debug', fromlist=['x'])"
        ".SafeExceptionReporterFilter().get_safe_settings()['NOTIFY_WEBHOOK_SECRET']"
    )
    assert "canary" not in start(shown, NOTIFY_WEBHOOK="https://hooks.example/canary")[1]
