"""Requests pages and reads them."""

import io
import re
import zipfile
from html import unescape

from django.urls import reverse

LIST = "/conversations/"
HTMX = {"HX-Request": "true"}
# What may differ between two answers of the same page: the time from which an empty list or an
# older page looks for new conversations, the time of the counts, the end of an axis, and the time
# of a printout.
VARIES = re.compile(
    r'name="csrfmiddlewaretoken" value="\w+"|since=[\d.]+0{32}|since="[\d.]+0{32}"'
    r'|<span data-now>[^<]*|class="as-of".*?</time>|No value as of [\d:]+|,? until \d\d:\d\d'
    r"|as of <time.*?</time>|happened before \d\d:\d\d|<small>\d\d:\d\d</small>"
    r"|(?<=problem_until=)[\w%-]+Z|(?<=problem_from=)[\w%-]+Z|(?<=active_until=)[\w%-]+Z"
)
# Headers of every answer.
EXPECTED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Reporting-Endpoints": 'csp="/csp-report/"',
}
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "report-to csp",
    "report-uri /csp-report/",
}


def url(name, *args):
    return reverse(f"conversations:{name}", args=args)


def get(client, path=LIST, headers=None, status=200, **parameters):
    response = client.get(path, parameters, headers=headers or {})
    assert response.status_code == status
    return response


def words(html: str) -> str:
    """The text between the tags, without titles."""
    return " ".join(re.sub(r"<title>.*?</title>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def text(response) -> str:
    return words(response.content.decode())


def body(response) -> str:
    """The whole body, even if it is streamed; for a workbook, the XML of its sheets."""
    content = b"".join(response)
    if response.headers.get("Content-Type", "").startswith("image/"):
        return content.decode("latin-1")
    if not content.startswith(b"PK"):
        return content.decode()
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        sheets = [name for name in book.namelist() if name.startswith("xl/worksheets/")]
        return "".join(book.read(name).decode() for name in sheets)


def error_links(response) -> list[str]:
    """The links on the page Errors that lead to the conversations with each error."""
    found = re.findall(r'<a class="row failure" href="([^"]*)"', response.content.decode())
    return [unescape(link) for link in found]


def missing(response) -> list[str]:
    """The EXPECTED headers that the answer lacks."""
    found = [name for name, value in EXPECTED.items() if response.get(name) != value]
    policy = response.get("Content-Security-Policy", "")
    found += sorted(POLICY - set(policy.split("; ")))
    found += ["unsafe"] if "unsafe" in policy else []
    if not {"camera=()", "microphone=()"} <= set(
        response.get("Permissions-Policy", "").split(", ")
    ):
        found.append("Permissions-Policy")
    if "no-store" not in response.get("Cache-Control", ""):
        found.append("no-store")
    return found
