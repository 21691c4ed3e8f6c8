"""The normal form of texts and searches: Python and SQL agree, and no INSERT ever fails."""

import os
import random
import unicodedata

import psycopg
import pytest
from django.conf import settings
from django.db import connections
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from conversations.agentdb import normal_form
from conversations.agentdb.normal_form import Positions, normalised, spans
from conversations.agentdb.search_terms import terms
from conversations.indexes import catalogue
from conversations.models import ChatMessage

from ..support.factories import make_message, make_session

pytestmark = pytest.mark.django_db

ESCAPES = [
    *(r"\u00fc", r"\ud83d\ude00", r"\ud83d", r"\u0000", r"\\", r"\u0307", r"\u0130", "\\"),
    "\\u",
]
TRICKY = [
    *"İIıiǏ'\"ßẞſẛςΣς µ０１٣{}“”«»aAsSéÉǅﬁŉ%_",
    *("\t", "\n", "\u00a0", "\u2028", "\x1c", "\x7f", "\x01", "\u200b", "\u00ad", "\ufeff"),
    *("\u0307", "\u0301", "\u0323", "\u0327", "\u0345", "\u0344", "\U0001d160", "\u0958", "👍🏽"),
    *map(chr, range(0x1100, 0x1180)),
    *map(chr, range(0xAC00, 0xAC10)),
    *ESCAPES,
]


def assigned() -> list[str]:
    codes = (chr(code) for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000)
    return [letter for letter in codes if unicodedata.category(letter) not in ("Cn", "Co")]


def in_sql(texts: list[str]) -> list[str]:
    with connections["agents"].cursor() as cursor:
        expression = normal_form.sql("text").replace("%", "%%")
        cursor.execute(
            f"SELECT {expression} FROM unnest(%s::text[]) WITH ORDINALITY AS given (text, place)"
            " ORDER BY place",
            [texts],
        )
        return [form for (form,) in cursor]


@pytest.mark.parametrize(
    "spellings",
    [
        *[("café", "CAFE\u0301", "cafe\u0301"), ("straße", "STRASSE", "Strasse", "STRAẞE")],
        *[("σοφός", "ΣΟΦΌΣ", "σοφόσ"), ("istanbul", "İSTANBUL", "ISTANBUL")],
        *[("i\u0307zmir", "İzmir", "IZMIR", "ızmir"), ("it's", "it’s", "IT‘S", "itʼs")],
        *[
            ('say "hi"', "say “hi”", "say „hi‟", "SAY «hi»"),
            ("a b", "a\n  b", "a\u00a0b", "a\t\r\nb"),
        ],
        *[("wonderful", "won\u00adder\u200bful", "\ufeffwonder\u2060ful"), ("conﬁrm", "confirm")],
        *[("123", "１２３", "١٢٣", "१२३", "𝟏𝟐𝟑"), ("5 µg", "5 μg"), ("Ω", "\u2126", "ω")],
        *[("tühistatud", r"t\u00fchistatud", r"T\u00DCHISTATUD", r"tu\u0308histatud")],
        *[("ok 😀", r"ok \ud83d\ude00"), ("한국", "\u1112\u1161\u11ab국"), ("ПРИВЕТ", "привет")],
    ],
)
def test_spellings_of_one_text_have_the_same_form(spellings):
    assert len({normalised(each) for each in spellings}) == 1
    assert in_sql(list(spellings)) == [normalised(each) for each in spellings]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[("cafe", "café"), ("oun", "õun"), ("ab", "a b"), ("1 2", "12"), ("ıslak", "ıslık")],
        *[(r"\\u00fc", "ü"), (r"C:\users", "c:users"), (r"\ud83d", ""), (r"\u0000", "")],
    ],
)
def test_different_texts_have_different_forms(one, other):
    assert normalised(one) != normalised(other)
    assert in_sql([one, other]) == [normalised(one), normalised(other)]


def test_python_and_sql_agree_on_every_character_and_on_random_text():
    letters = assigned()
    chance = random.Random(13)
    texts = [
        "".join(
            chance.choice(TRICKY if chance.random() < 0.6 else letters)
            for _ in range(chance.randint(1, 12))
        )
        for _ in range(20_000)
    ]
    texts += letters
    for text, form in zip(texts, in_sql(texts), strict=True):
        assert form == normalised(text), ascii(text)


def test_nfc_and_nfd_have_the_same_form():
    for letter in assigned():
        decomposed = unicodedata.normalize("NFD", letter)
        assert normalised(letter) == normalised(decomposed), ascii(letter)


def test_the_form_of_a_form_is_the_same():
    # Except backslashes, which an escape may produce.
    for letter in assigned():
        if letter != "\\":
            assert normalised(normalised(letter)) == normalised(letter), ascii(letter)


# Positions


def test_positions_give_the_same_form():
    chance = random.Random(14)
    letters = assigned()
    for _ in range(10_000):
        text = "".join(
            chance.choice(TRICKY if chance.random() < 0.8 else letters)
            for _ in range(chance.randint(1, 14))
        )
        assert Positions(text).normal == normalised(text), ascii(text)


@pytest.mark.parametrize(
    ("text", "term", "found"),
    [
        ("Cafe\u0301s, CAFÉ", "café", ["Cafe\u0301", "CAFÉ"]),
        ("Straße STRASSE", "strasse", ["Straße", "STRASSE"]),
        (r"{\"a\": \"t\u00fchi\"}", "ühi", [r"\u00fchi"]),
        ("a \n\u200b b", "a b", ["a \n\u200b b"]),
        ("x “quo\u00adted” y", '"quoted"', ["“quo\u00adted”"]),
        ("١٢٣ and １２３", "123", ["١٢٣", "１２３"]),
        ("ﬁn", "in", ["ﬁn"]),
        ("ab  cd", "b c", ["b  c"]),
        ("İstanbul", "istan", ["İstan"]),
        ("hay", "needle", []),
        ("aXbXc", "x", ["X", "X"]),
    ],
)
def test_hits_have_their_positions_in_the_text(text, term, found):
    assert [text[start:end] for start, end in spans(text, [normalised(term)])] == found


def test_regular_letters_are_one_letter_each():
    for letter in assigned():
        if normal_form.UNITS.match(letter)["plain"]:
            assert len(normalised(letter)) == 1, ascii(letter)
            assert not normal_form.joins(letter), ascii(letter)


# Terms


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("refund parcel", ["refund", "parcel"]),
        ('"where is" parcel', ["where is", "parcel"]),
        ("“where  is” parcel", ["where is", "parcel"]),
        ('5" screen', ['5"', "screen"]),
        ('"where is', ['"where', "is"]),
        ('{"status":"failed"}', ['{"status":"failed"}']),
        ('""', ['""']),
        ("refund REFUND ref", ["refund"]),
        ("  \u00a0\t", []),
        ("\u200b\u00ad", []),
        ("it’s", ["it's"]),
    ],
)
def test_words_and_phrases(search, found):
    assert list(terms(search)) == found


# Inserts


@pytest.fixture
def indexed():
    """Our indexes on messages and external ids exist."""
    with connections["agents_write"].cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        for index in (catalogue.TRIGRAMS, catalogue.EXTERNAL_IDS):
            cursor.execute(f"DROP INDEX IF EXISTS {index.name}")
            cursor.execute(index.create(concurrently=False).replace("%", "%%"))


PIECES = st.lists(st.one_of(st.sampled_from(TRICKY), st.characters(codec="utf-8")), max_size=30)
TEXTS = st.one_of(st.text(st.characters(codec="utf-8")), PIECES.map("".join))


@pytest.mark.slow
def test_no_text_makes_an_insert_fail(indexed):
    """10,000 texts: everything that PostgreSQL can store gets stored."""
    session = make_session()
    made: list[str] = []

    @hypothesis_settings(max_examples=100)
    @given(st.lists(TEXTS, min_size=100, max_size=100))
    def insert(texts):
        texts = [text.replace("\0", "") for text in texts]
        with connections["agents_write"].cursor() as cursor:
            cursor.execute(
                "INSERT INTO chat_messages (id, agent_id, session_id, role, content, created_at,"
                " updated_at) SELECT gen_random_uuid(), %s, %s, 'user', text, now(), now()"
                " FROM unnest(%s::text[]) AS text",
                [session.agent_id, session.id, texts],
            )
            cursor.execute(
                "INSERT INTO sessions (id, agent_id, external_id, created_at, updated_at)"
                " SELECT gen_random_uuid(), %s, text, now(), now() FROM unnest(%s::text[]) AS text",
                [session.agent_id, texts],
            )
        made.extend(texts)

    insert()
    assert len(made) >= 10_000


@pytest.mark.parametrize(
    "text",
    [
        *[r"C:\users", r"C:\update", r'{"a": "\ud800"}', r'{"a": "\u0000"}', "{[broken", r"\u12"],
        *[
            "\\" * 1001,
            "\\" * 1000 + "u00fc",
            r"\U0001f600 \+000041 \0041",
            "a" + "\u0301" * 10_000,
        ],
        *["\U0001d160" * 250_000, r"\u00fc" * 160_000, " \n" * 500_000, "ß" * 500_000],
        *["é👍🏽 " * 200_000, "x" * 5_000_000, "ü" * 2_500_000],
    ],
    ids=range(17),
)
def test_hostile_texts_can_be_inserted(indexed, text):
    message = make_message(make_session(), content=text)
    assert ChatMessage.objects.get(pk=message.id).content == text


def test_a_long_external_id_can_be_inserted(indexed):
    """As long as the runtime's own index accepts."""
    for letter in ("x", "ü", "\U0001d160", "Ⱥ"):
        text = "".join(random.Random(1).choice([letter, "y", "z"]) for _ in range(650))
        make_session(external_id=text)


# Other databases


@pytest.fixture(params=["C", "C.UTF-8"])
def other_locale(request):
    name = f"normal_{os.getpid()}"
    with psycopg.connect(settings.LOCAL_POSTGRES.uri("postgres"), autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {name}")
        server.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"
            f" LOCALE_PROVIDER libc LOCALE '{request.param}'"
        )
        try:
            with psycopg.connect(settings.LOCAL_POSTGRES.uri(name), autocommit=True) as connection:
                yield request.param, connection
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_database_that_lowers_only_ascii_is_recognised(other_locale):
    locale, connection = other_locale
    texts = [*TRICKY, "ПРИВЕТ", "Ärger", "ΣΑΣ", "STRAẞE"]
    expected = normal_form.without_lowering if locale == "C" else normalised
    for text in texts:
        expression = normal_form.sql("text").replace("%", "%%")
        rows = connection.execute(f"SELECT {expression} FROM (SELECT %s) AS given (text)", [text])
        [form] = rows.fetchone()
        assert form == expected(text), ascii(text)
