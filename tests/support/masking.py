"""Switches masking on, and reads stand-ins from texts and pages."""

from contextlib import contextmanager
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode

from django.db import connections
from psycopg.types.json import JsonLoader
from psycopg.types.string import TextLoader

from privacy import masking, personal_data
from privacy.stand_ins import LONG_OR_SHORT

EMAIL = "zoe.quill@planted-mail.example"
PHONE = "+372 5987 6543"


@contextmanager
def masking_on(settings):
    """In the block, personal data is masked, and no page runs out of time on a busy machine."""
    settings.MASK_PERSONAL_DATA = True
    settings.STATEMENT_TIMEOUT_SECONDS = 60
    connection = connections["agents"]
    connection.ensure_connection()
    masking.install(connection)
    yield
    for kind in ("text", "varchar", "bpchar", 0, "jsonb"):
        connection.connection.adapters.register_loader(kind, TextLoader)
    connection.connection.adapters.register_loader("json", JsonLoader)


def kinds(text: str) -> str:
    """A masked text with its stand-ins reduced to their kind, as in [e-mail]."""
    return LONG_OR_SHORT.sub(r"[\1]", text)


def short(stand_in: str) -> str:
    """The stand-in as a page shows it, as in [e-mail HKMR]."""
    return f"{stand_in[: -len('-TWPX]')]}]"


def found_in(text: str) -> list[str]:
    """The stand-ins in a text, long or short as they are there."""
    return [found[0] for found in LONG_OR_SHORT.finditer(text)]


class Page(HTMLParser):
    """The stand-ins of a page: those `shown` in its text, and those `kept` in full elsewhere."""

    def __init__(self, html: str):
        super().__init__()
        self.within = ""
        self.shown: set[str] = set()
        self.kept: set[str] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.within = tag
        self.kept |= {each for _, value in attrs for each in found_in(value or "")}

    def handle_endtag(self, tag):
        self.within = ""

    def handle_data(self, data):
        if self.within in ("textarea", "script", "style"):
            self.kept |= {*found_in(data)}
        else:
            self.shown |= {*found_in(data)}


def mask(*args, **kwargs) -> str:
    return kinds(personal_data.mask(*args, **kwargs))


def mask_json(*args, **kwargs) -> str:
    return kinds(personal_data.mask_json(*args, **kwargs))


def mask_query(query: str) -> str:
    return urlencode(
        [(name, kinds(text)) for name, text in parse_qsl(personal_data.mask_query(query))]
    )
