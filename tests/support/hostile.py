"""Hypothesis strategies for what strangers send instead of what a page expects."""

import uuid
from urllib.parse import quote_from_bytes, urlsplit

from hypothesis import strategies as st

ZERO = "0" * 32
SOMEBODY = uuid.UUID(int=2**127)
TEXTS = (
    *("", " ", "\0", "a\0b", "\ud800", "a\udfffb", "\ufeff", "\u202e", "é", "ǆ", "٣", "ı", "ß"),
    *("0", "1", "-1", "1" + "0" * 30, "9" * 5_000, "1e30", "NaN", "0x10", "1_000", "+1", "1.5"),
    *("null", "true", "[]", "{}", "[" * 3_000, '{"a":' * 2_000, "x" * 3_000, "%" * 300, "\\" * 99),
    *(
        "'",
        '"',
        "' OR 1=1 --",
        "1); SELECT pg_sleep(9) --",
        "%",
        "_",
        "\\",
        "(?:a+)+$",
        "*",
        "$(x)",
    ),
    # Bad lookups and made-up passkey answers.
    *("(", "9" * 400, '{"id": "x"}', '{"response": 1}', "[" * 20_000, '"x"', "NaN", "{}"),
    *("<script>alert(1)</script>", "{{7*7}}", "${7*7}", "\r\nSet-Cookie: a=b", "../../etc/passwd"),
    *(str(SOMEBODY), SOMEBODY.hex, f"{{{SOMEBODY}}}", f"urn:uuid:{SOMEBODY}", str(SOMEBODY)[:-1]),
    *("2026-13-45", "2026-11-23", "9999-12-31", "0001-01-01", "0001-01-01T00:00+23:59"),
    *("9999-12-31T23:59:59-23:59", "2026-11-23T10:00+25:00", "2026-11-23T10:00:00.1234567"),
    *(f"{when}.{ZERO}" for when in (0, -62135596800000000, 253402300799999999, "9" * 18, "9" * 19)),
    *("any", "failed", "running", "task_error", "hidden", "all", "model_error", "csv", "context"),
    *(
        "//evil.example",
        "https://evil.example/",
        "http://[",
        "javascript:alert(1)",
        "/\\evil.example",
    ),
)
# Values for `next` that must not redirect to another site.
ELSEWHERE = [
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    "\n//evil.example",
    " //evil.example",
    "\r\n//evil.example",
    "http://evil.example",
    "https://evil.example/conversations/",
    "HTTPS://EVIL.EXAMPLE",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "http:\\\\evil.example",
    "ftp://testserver/",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "\x01javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox",
    "//testserver@evil.example",
    "http://testserver@evil.example/",
    "http://testserver:80@evil.example/",
    "http://testserver.evil.example/",
    "//evil。example",
    "http://evil．example",
    "//[::1",
    "http://[",
    "//%5cevil.example",
    "/\x00/evil.example",
    "\u202e//evil.example",
    "x" * 10_000,
    "http://testserver\\@evil.example",
    "http:///evil.example//..",
]
# Bytes, because an address need not be UTF-8.
VALUES = st.one_of(
    st.sampled_from(TEXTS).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(max_size=20).map(str.encode),
    st.binary(max_size=12),
)
STRANGE_NAMES = (
    b"",
    b"a[]",
    b"__proto__",
    b"id__gt",
    b"\0",
    b"\xff",
    b"agent[]",
    b"page",
    b"x" * 500,
)
BROKEN_ENDINGS = ("", "", "", "%", "%zz", "&", "=", "&&==", "%u0041", ";a=b", "#x", "?")
METHODS = ("GET", "GET", "GET", "POST", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW")

# Header values that gunicorn lets through.
WORDS = st.one_of(
    st.sampled_from(TEXTS).map(lambda text: text.encode("utf-8", "replace").decode("latin-1")),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20),
).map(lambda text: "".join(each for each in text if each not in "\0\r\n"))
HEADERS = (
    *("HX-Request", "HX-Boosted", "HX-History-Restore-Request", "HX-Target", "HX-Trigger"),
    *("HX-Current-URL", "HX-Current-URL-URI-AutoEncoded", "HX-Prompt", "HX-Trigger-Name"),
    *("Referer", "Origin", "Accept", "Accept-Language", "Accept-Encoding", "User-Agent", "Range"),
    *("If-Modified-Since", "If-None-Match", "X-Forwarded-For", "X-Forwarded-Host", "X-Request-ID"),
    *("X-Forwarded-Proto", "X-Requested-With", "X-HTTP-Method-Override", "Content-Encoding"),
)
COOKIES = ("timezone", "csrftoken", "messages", "desk_session", "other", "", "$Path", "a b")
FORM = "application/x-www-form-urlencoded"
CHARSETS = ("hex", "rot13", "idna", "punycode", "unicode_escape", "utf-7", "utf-16", "cp037", "xxx")
TYPES = (
    *(
        "",
        "x",
        "application/json",
        "text/html",
        "multipart/form-data",
        "multipart/mixed; boundary=b",
    ),
    *(
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 300,
        f"{FORM};;;=",
    ),
    *(
        "multipart/form-data; boundary=b",
        "multipart/form-data; boundary=é",
        "application/csp-report",
    ),
    *(f"{kind}; charset={charset}" for charset in CHARSETS for kind in (FORM, "text/plain")),
)
PARTS = (
    b'--b\r\nContent-Disposition: form-data; name="words"\r\n\r\nhi\r\n--b--\r\n',
    b'--b\r\nContent-Disposition: form-data; name="a"; filename="../x"\r\n\r\nhi\r\n--b--',
    b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\n=",
    b"--b\r\n\r\n--b",
    b"--b\r\n" + b"X: y\r\n" * 2_000,
    b"&".join(b"a%d=1" % number for number in range(1_500)),
    b"[" * 5_000,
)


@st.composite
def queries(draw, names) -> str:
    """A query string with any bytes: these names, some of them twice, and other names."""
    name = st.sampled_from([*names, *names, *names, *STRANGE_NAMES])
    pairs = draw(st.lists(st.tuples(name, VALUES), max_size=4))
    text = "&".join(f"{quote_from_bytes(key)}={quote_from_bytes(value)}" for key, value in pairs)
    return text + draw(st.sampled_from(BROKEN_ENDINGS))


@st.composite
def bodies(draw, names) -> tuple[str, bytes]:
    """(content type, body)"""
    if draw(st.integers(0, 3)):
        return FORM, draw(queries(names)).encode()
    return draw(st.sampled_from(TYPES)), draw(st.sampled_from(PARTS) | st.binary(max_size=50))


@st.composite
def headers(draw, session: str) -> dict[str, str]:
    """Headers for the environment of a request, with the cookie of a signed-in session."""
    found = draw(st.dictionaries(st.sampled_from(HEADERS), WORDS, max_size=4))
    if draw(st.booleans()):
        found |= {"HX-Request": "true", "HX-Target": "main#browse"}
    cookies = [session] if session else []
    for name in draw(st.lists(st.sampled_from(COOKIES), max_size=2)):
        cookies.append(f"{name}={draw(WORDS)}")
    found["Cookie"] = "; ".join(cookies)
    return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in found.items()}


def leads_elsewhere(location: str) -> bool:
    """Whether a browser would leave this site. Browsers read \\ as / and ignore line breaks."""
    read = (each for each in location if each > " " and not each.isspace())
    location = "".join(read).replace("\\", "/")
    parts = urlsplit(location)
    return location.startswith("//") or (parts.scheme, parts.netloc) not in (
        ("", ""),
        ("http", "testserver"),
    )


def assert_stays_here(response):
    assert response.status_code == 302
    assert not leads_elsewhere(response["Location"]), response["Location"]
