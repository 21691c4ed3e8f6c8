"""Masking that is switched on, and what it hides."""

from contextlib import contextmanager
from urllib.parse import parse_qsl, urlencode

from django.db import connections
from psycopg.types.json import JsonLoader
from psycopg.types.string import TextLoader

from privacy import masking, personal_data
from privacy.stand_ins import STAND_IN

EMAIL = "zoe.quill@planted-mail.example"
PHONE = "+372 5987 6543"


@contextmanager
def masking_on(settings):
    """Personal data is masked in the block, where no page runs out of time on a busy machine."""
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
    """A masked text without the letters of its stand-ins: [e-mail]."""
    return STAND_IN.sub(r"[\1]", text)


def mask(*args, **kwargs) -> str:
    return kinds(personal_data.mask(*args, **kwargs))


def mask_json(*args, **kwargs) -> str:
    return kinds(personal_data.mask_json(*args, **kwargs))


def mask_query(query: str) -> str:
    return urlencode(
        [(name, kinds(text)) for name, text in parse_qsl(personal_data.mask_query(query))]
    )
