"""Words are found in every spelling and encoding, and nothing else is replaced."""

import json
import re
import time
import unicodedata
from html import escape, unescape
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from conversations.agentdb import normal_form
from conversations.changes.replacing import replaced
from conversations.changes.spellings import MAY_HIDE, Normal, Words, alike

MANY = hypothesis_settings(max_examples=200)


def redacted(text, *words, is_json=False):
    return replaced(text, Words(words), is_json=is_json)[0]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("café", r"caf\u00E9"),
        ("café", r"caf\u00e9"),
        ("café", r"caf\\u00e9"),
        ("café", "CAFE\u0301"),
        ("CAFE\u0301", "café"),
        ("🙂 yes", r"\ud83d\ude42 yes"),
        ("a/b", r"a\/b"),
        ("R&D", r"R\u0026D"),
        ("R&D", "R&amp;D"),
        ("R&D", "R&amp;amp;D"),
        ("Köln", "K%C3%B6ln"),
        ("Köln", "K%25C3%25B6ln"),
        ("Köln", "k&ouml;ln"),
        ("Köln", "K&#246;ln"),
        ("Köln", "K&#XF6;ln"),
        ("Köln", r"K\u0026ouml;ln"),
        ("Mari Tamm", "Mari\u00a0Tamm"),
        ("Mari\u00a0Tamm", "mari  \n tamm"),
        ("Mari Tamm", r"Mari\nTamm"),
        ("Mari Tamm", "Mari&nbsp;Tamm"),
        ("Mari Tamm", "Mari%20Tamm"),
        ("Mari Tamm", "Ma\u00adri Tamm"),
        ("Mari Tamm", r"Ma\u00adri Tamm"),
        ("Mari Tamm", "Ｍａｒｉ Ｔａｍｍ"),
        ("Mari Tamm", "\\u004dari Tamm"),
        ("Anna-Liisa", "Anna\u2011Liisa"),
        ("Anna–Liisa", "Anna-Liisa"),
        (r"caf\u00e9", "café"),
        ("R&amp;D", "R&D"),
        ("4111111111111111", "4111 1111 1111 1111"),
        ("4111 1111 1111 1111", "4111111111111111"),
        ("4111 1111 1111 1111", r"4111-1111\u00a01111–1111"),
        ("4111 1111 1111 1111", "4111%201111%201111%201111"),
        ("EE382200221020145685", "ee38 2200 2210 2014 5685"),
        ("+372 5123 4567", "+3725123-4567"),
        ("+372 5123 4567", "(+372) 5123 4567"),
        ("1234567", "١٢٣٤٥٦٧"),
        ("jane@example.com", "Jane%40example.com"),
        ("jane@example.com", "jane&#64;example.com"),
        ("straße", "STRASSE"),
        (r"C:\temp", r"C:\\temp"),
        (" All of this. ", "All of this."),
    ],
)
def test_words_are_found_in_another_form(words, text):
    assert redacted(f"so {text}, so", words) == "so [redacted], so"
    inner = json.dumps({"said": f"so {text}, so"})
    for _ in range(4):
        after = redacted(inner, words, is_json=True)
        assert "so [redacted], so" in after
        assert after.replace("[redacted]", "") != inner
        assert json.loads(after)
        inner = json.dumps([inner, 1])


def test_a_plus_is_a_space_only_in_a_query_string():
    assert redacted("/find?q=Mari+Tamm&x=1", "Mari Tamm") == "/find?q=[redacted]&x=1"
    assert redacted("q%3DMari%2BTamm q=Mari%20Tamm", "Mari Tamm") == "q%3D[redacted] q=[redacted]"
    assert redacted("1+1", "1 1") == "1+1"
    assert redacted("to=a+b@example.com", "a+b@example.com") == "to=[redacted]"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("amp", "R&amp;D"),
        ("u00e9", r"caf\u00e9"),
        ("00", r"caf\u00e9"),
        ("d83d", r"\ud83d\ude42"),
        ("C3", "K%C3%B6ln"),
        ("20", "Mari%20Tamm"),
        ("newer", r'{"a": "line\newer"}'),
        ("newer", r'["{\"a\": \"line\\newer\"}"]'),
        ("Mari Tamm", "MariTamm Mari-Tamm Mari, Tamm"),
        ("a.b", "aXb a b"),
        ("123456", "12, 3456"),
        ("123456", "12 34 567"),
        ("jose", "José"),
        ("\u200b\u200b", "any\u200b\u200bthing"),
    ],
)
def test_texts_without_the_words_stay(words, text):
    assert redacted(text, words) == text


def test_a_backslash_that_is_not_an_escape_is_removed_with_its_letter():
    assert redacted(r"C:\new\file", "new") == r"C:[redacted]\file"
    assert redacted(r"C:\new", r"C:\new") == "[redacted]"


def test_earlier_redactions_stay():
    after = redacted("[redacted] red act", "red", "act")
    assert after == "[redacted] [redacted] [redacted]"
    assert redacted("a [redacted] b", "[redacted]") == "a [redacted] b"
    assert redacted("a [redacted] b", "a [redacted]") == "[redacted] b"


def test_the_longest_of_several_matches_counts():
    assert redacted("Tamme ja Tamm", "Tamm", "Tamme") == "[redacted] ja [redacted]"


# JSON stays JSON


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"n": 4111111111111111}, {"n": "[redacted]"}),
        ({"n": [4111111111111111, 4]}, {"n": ["[redacted]", 4]}),
        ({"4111111111111111": 1}, {"[redacted]": 1}),
        (
            {"4111111111111111": 1, "4111 1111 1111 1111": 2, "[redacted] 2": 3},
            {"[redacted]": 1, "[redacted] 3": 2, "[redacted] 2": 3},
        ),
        ({"a": {"x 4111111111111111 y": 1, "x [redacted] y": 2}}, None),
    ],
)
def test_a_document_at_any_depth(before, after):
    text, expected = json.dumps(before), after
    if expected is None:
        expected = {"a": {"x [redacted] y 2": 1, "x [redacted] y": 2}}
    for depth in range(4):
        found = redacted(text, "4111-1111-1111-1111", is_json=True)
        for _ in range(depth):
            found = json.loads(found)["in"]
        assert json.loads(found) == expected
        text = json.dumps({"in": text})


def test_a_document_within_a_text():
    text = 'Called {"card": 4111111111111111} and ["4111111111111111", 1]: 4111111111111111'
    assert redacted(text, "4111111111111111") == (
        'Called {"card": "[redacted]"} and ["[redacted]", 1]: [redacted]'
    )


def test_redacting_words_across_strings_leaves_a_document():
    document = '{"first": "Mari", "last": "Tamm", "age": 41}'
    assert redacted(document, '"Mari", "last": "Tamm", "age": 41') == (
        '{"first": "[redacted]", "[redacted]": "[redacted]", "[redacted] 2": "[redacted]"}'
    )
    assert redacted(f"{document}", document) == "[redacted]"
    assert json.loads(redacted(document, document, is_json=True))
    assert "Mari" not in redacted(document, document, is_json=True)


def test_the_other_escapes_of_a_string_stay():
    text = r'{"a": "J\u00fcri \/ K\u00F6ln & Tamm", "b": "\u00e4"}'
    assert redacted(text, "tamm") == r'{"a": "J\u00fcri \/ K\u00F6ln & [redacted]", "b": "\u00e4"}'


def test_deep_json_in_json():
    text = json.dumps(["Jüri"])
    for _ in range(12):
        text = json.dumps([text])
    found = redacted(text, "JÜRI", is_json=True)
    for _ in range(13):
        [found] = json.loads(found)
    assert found == "[redacted]"


# Any words in any spelling

WORD_LETTERS = "abcmÄöõšжéΣ日本KQ1237"
OTHERS = 'xyz XYZ.,:;!?<>"/{}[]()\n=üåя0489'


def spelled(words, how):
    for each in how:
        words = each(words)
    return words


SPELLINGS = [
    str.lower,
    str.upper,
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: unicodedata.normalize("NFC", text),
    lambda text: text.replace(" ", "\u00a0"),
    lambda text: text.replace(" ", " \n "),
    lambda text: text.replace("-", "\u2013"),
    lambda text: text.replace("a", "a\u200b"),
]


def hex_escaped(text):
    """As JSON allows it: any letter may be an escape."""
    pairs = text.encode("utf-16-be")
    return "".join(f"\\u{pairs[at]:02X}{pairs[at + 1]:02x}" for at in range(0, len(pairs), 2))


# (encode, decode)
CODECS = {
    "json": (json.dumps, json.loads),
    "json of letters": (lambda text: json.dumps(text, ensure_ascii=False), json.loads),
    "json of escapes": (
        lambda text: f'"{hex_escaped(text)}"' if "[redacted]" not in text else json.dumps(text),
        json.loads,
    ),
    "json document": (
        lambda text: json.dumps({"k": [text, 7]}),
        lambda text: json.loads(text)["k"][0],
    ),
    "html": (escape, unescape),
    "html of numbers": (
        lambda text: re.sub(r"[^x ]", lambda found: f"&#{ord(found[0])};", text),
        unescape,
    ),
    "percent": (lambda text: quote(text, safe=""), unquote),
    "query": (
        lambda text: f"q={quote_plus(text)}",
        lambda text: unquote_plus(text).removeprefix("q="),
    ),
}


@MANY
@given(
    st.lists(st.text(WORD_LETTERS, min_size=1, max_size=5), min_size=1, max_size=3),
    st.sampled_from([" ", "-"]),
    st.lists(st.sampled_from(SPELLINGS), max_size=3),
    st.text(OTHERS, max_size=12),
    st.text(OTHERS, max_size=12),
    st.lists(st.sampled_from(sorted(CODECS)), max_size=4),
)
def test_any_words_are_found_however_they_are_spelled(parts, joint, how, before, after, codecs):
    words = joint.join(parts)
    assume(len(words) > 1 and not words.isdigit())
    before, after = f"{before}x ", f" x{after}"
    text = f"{before}{spelled(words, how)}{after}"
    for name in codecs:
        text = CODECS[name][0](text)
    found, times = replaced(text, Words([words]), is_json=False)
    assert times == 1
    for name in reversed(codecs):
        found = CODECS[name][1](found)
    assert found == f"{before}[redacted]{after}"


@MANY
@given(
    st.text(WORD_LETTERS + " -", min_size=2, max_size=12),
    st.text(OTHERS + WORD_LETTERS.replace("Q", ""), max_size=60),
    st.lists(st.sampled_from(sorted(CODECS)), max_size=4),
)
def test_a_text_that_lacks_a_letter_does_not_match(words, text, codecs):
    for name in codecs:
        text = CODECS[name][0](text)
    # A letter that no encoding produces for another one.
    found, times = replaced(text, Words([f"{words.strip()}ʘq"]), is_json=False)
    assert (found, times) == (text, 0)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(OTHERS + "\\&%", max_size=9)
    | st.just("Mari Tamm"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text('xyz\\"&', max_size=5), inner, max_size=4)
        | inner.map(json.dumps)
    ),
    max_leaves=12,
)


def without_words(value):
    if isinstance(value, str):
        if value.strip()[:1] in ("{", "[", '"'):
            try:
                return json.dumps(without_words(json.loads(value)))
            except ValueError:
                pass
        return value.replace("Mari Tamm", "[redacted]")
    if isinstance(value, list):
        return [without_words(each) for each in value]
    if isinstance(value, dict):
        return {key: without_words(each) for key, each in value.items()}
    return value


@MANY
@given(JSON)
def test_only_strings_with_hits_change_in_a_document(value):
    found = redacted(json.dumps(value), "mari tamm", is_json=True)
    assert normal_json(json.loads(found)) == normal_json(without_words(value))


def normal_json(value):
    """JSON inside strings may have different white space."""
    return json.dumps(value).replace(" ", "")


# What may be skipped, and how long it takes


def test_the_quick_check_notices_every_hidden_letter():
    letter = re.compile("[0-9a-z]")
    for code in [*range(128, 0xD800), *range(0xE000, 0x10000)]:
        each = chr(code)
        alone, within = alike(normal_form.folded(each)), normal_form.folded(f"a{each}b")
        if letter.search(alone) or within == "ab":
            assert MAY_HIDE.search(each), hex(code)
            assert MAY_HIDE.search(f"\\u{code:04x}"), hex(code)
    for code in range(128):
        if chr(code).isalnum() or chr(code) in "\\&%#;":
            assert MAY_HIDE.search(f"\\u{code:04x}"), hex(code)
            assert MAY_HIDE.search(f"%{code:02x}") or chr(code) == ";", hex(code)


def test_the_quick_check_skips_no_spelling_of_a_letter():
    for words in ("Jüri", "ΣΑΣ", "日本", "Ångström", "Мария", "한글", "ﬁn"):
        for text in (
            words,
            words.upper(),
            unicodedata.normalize("NFD", words),
            json.dumps(words),
            json.dumps(json.dumps(unicodedata.normalize("NFD", words))),
            words.replace("Å", "\u212b"),
        ):
            assert Words([words]).may_be_in(f"x {text} y"), (words, text)
            assert redacted(f"x {text} y", words).startswith("x "), text
            assert "[redacted]" in redacted(f"x {text} y", words), text
    assert not Words(["Jüri Müür"]).may_be_in("Kõri ja müra, \\u00fcri")


def test_the_pieces_normal_forms_make_up_the_whole():
    text = (
        'Jüri, "caf\\u00e9"  said: e\u0301 and a\u00adb, İ; so ' * 900 + "Jüri Müür ütles, " * 1000
    )
    form = Normal(text)
    assert len(form.starts) > 5
    assert form.normal == alike(normal_form.normalised(text))
    whole = normal_form.Positions(text)
    for place in range(0, len(form.normal) - 9, 7):
        assert form.span((place, place + 9)) == whole.span(place, place + 9)


@pytest.mark.parametrize(
    "piece",
    [
        "Lorem ipsum dolor sit amet. ",
        'a "quoted" \\n word, ',
        "&amp;",
        "%25",
        "\\\\",
        "4 4 4 4 4 4-",
        '[[{"',
        "Mari ",
        "=+",
        "  ",
        "[redacted",
    ],
)
def test_time_is_proportional_to_the_text(piece):
    words = Words(["Mari Tamm", "4444 4444 4444 4445", "+372 5123 4567"])

    def seconds(size):
        text = piece * (size // len(piece))
        began = time.process_time()
        replaced(text, words, is_json=False)
        return time.process_time() - began

    seconds(10_000)
    small = min(seconds(40_000) for _ in range(3))
    assert seconds(320_000) < max(8 * 3 * small, 1)
