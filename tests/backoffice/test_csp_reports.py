"""Browsers report what the policy blocked. Each report is one log line without anybody's text."""

import json
import logging
import uuid

import pytest

from backoffice import csp_reports

URL = "/csp-report/"
PAGE = f"https://desk.example/conversations/{uuid.UUID(int=7)}/?search=secret-word"
OLD = "application/csp-report"
NEW = "application/reports+json"
LINE = "CSP: img-src blocked tracker.example on conversations:detail"


def old(**changes):
    report = {
        "document-uri": PAGE,
        "referrer": "https://desk.example/?search=secret-word",
        "violated-directive": "img-src 'self'",
        "effective-directive": "img-src",
        "original-policy": "default-src 'none'",
        "blocked-uri": "https://tracker.example/pixel?secret-word",
        "script-sample": "secret-word",
        **changes,
    }
    return {"csp-report": report}


def new(**changes):
    body = {
        "documentURL": PAGE,
        "effectiveDirective": "img-src",
        "blockedURL": "https://tracker.example/pixel?secret-word",
        "sample": "secret-word",
        "disposition": "enforce",
        **changes,
    }
    return {"type": "csp-violation", "age": 1, "url": PAGE, "user_agent": "x", "body": body}


@pytest.fixture(autouse=True)
def _allowance(monkeypatch):
    monkeypatch.setattr(csp_reports, "allowance", csp_reports.Allowance())


@pytest.fixture
def send(client, caplog):
    """A function that sends a report without signing in, and returns (status, log lines)."""

    def send(body, content_type=OLD, **headers):
        caplog.clear()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with caplog.at_level(logging.INFO):
            response = client.post(URL, data, content_type=content_type, **headers)
        lines = [one for one in caplog.messages if one.startswith("CSP:")]
        assert "secret-word" not in caplog.text
        return response.status_code, lines

    return send


def test_a_report_is_one_line_without_content_or_queries(send):
    assert send(old()) == (204, [LINE])
    assert send([new()], NEW) == (204, [LINE])


def test_a_batch_of_reports_is_logged_one_by_one_without_other_kinds(send):
    reports = [new(), {"type": "deprecation", "body": {"id": "x"}}, new(blockedURL="inline")]
    second = LINE.replace("tracker.example", "inline")
    assert send(reports, NEW) == (204, [LINE, second])
    assert send([], NEW) == (204, [])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"effective-directive": ""}, LINE),
        ({"blocked-uri": "eval"}, LINE.replace("tracker.example", "eval")),
        ({"blocked-uri": ""}, LINE.replace("tracker.example", "something")),
        ({"blocked-uri": "https://é secret-word/"}, LINE.replace("tracker.example", "something")),
        ({"blocked-uri": "https://a\nb/"}, LINE.replace("tracker.example", "ab")),
        ({"document-uri": "/secret-word"}, LINE.replace("conversations:detail", "another page")),
    ],
)
def test_a_line_contains_nothing_that_strangers_wrote(send, changes, line):
    assert send(old(**changes)) == (204, [line])


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", OLD),
        (b"{", OLD),
        (b"\xff\xfe", OLD),
        (b"null", OLD),
        (b"[]", OLD),
        (b'{"csp-report": []}', OLD),
        (b'{"csp-report": {}}', OLD),
        (b"[" * 60_000, OLD),
        (b"[" * 60_000, NEW),
        (b"9" * 60_000, NEW),
        (b"[1]", NEW),
        (b'{"type": "csp-violation"}', NEW),
        (b'[{"type": "csp-violation", "body": {"effectiveDirective": 5}}]', NEW),
        (json.dumps(old()).encode(), "application/json"),
        (json.dumps(old()).encode(), NEW),
        (json.dumps([new()]).encode(), OLD),
        (json.dumps(old(**{"effective-directive": "img\nCSP: forged"})).encode(), OLD),
        (json.dumps(old(**{"document-uri": "http://["})).encode(), OLD),
        (json.dumps(old(**{"blocked-uri": None})).encode(), OLD),
    ],
)
def test_garbage_is_a_400_and_not_logged(send, body, content_type):
    assert send(body, content_type) == (400, [])


def test_a_long_report_is_a_413(send):
    body = json.dumps(old(padding="x" * csp_reports.LONGEST)).encode()
    assert send(body) == (413, [])
    assert send(b"x" * 3_000_000) == (413, [])


def test_reports_can_only_be_posted(client):
    for method in ("get", "head", "put", "delete", "options"):
        response = getattr(client, method)(URL)
        assert response.status_code == 405
        assert response["Allow"] == "POST"


@pytest.mark.django_db
def test_reports_need_no_csrf_token(client, settings):
    client.handler.enforce_csrf_checks = True
    response = client.post(URL, json.dumps(old()), content_type=OLD)
    assert response.status_code == 204


def test_nobody_can_fill_the_log(send, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(csp_reports.time, "monotonic", lambda: now[0])
    status, lines = send([new()] * 25, NEW)
    assert (status, len(lines)) == (204, csp_reports.LINES_A_MINUTE)
    assert send(old()) == (204, [])
    now[0] += 61
    passed_over = 25 - csp_reports.LINES_A_MINUTE + 1
    assert send(old()) == (204, [f"{LINE} ({passed_over} reports before it were left out)"])
    assert send(old()) == (204, [LINE])
