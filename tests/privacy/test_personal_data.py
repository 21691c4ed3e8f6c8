"""Which personal data is found in a text, and what is not mistaken for it."""

import json
import random
import re
import time

import phonenumbers
import pytest

from backoffice import json_text
from privacy import phones

from ..support.masking import mask, mask_json, mask_query

FOUND = {
    "[e-mail]": [
        "jane.doe+tag@example.com",
        "JANE_DOE@MAIL.EXAMPLE.CO.UK",
        "o'brien@example.com",
        "josé@exämple.org",
        "用户@例え.jp",
        "अजय@डाटा.भारत",
        "jane＠example.com",
        "jane@例子。广告",
        "jane%40example.com",
        "jane@[192.168.0.1]",
        '"jane doe"@example.com',
        r"jos\u00e9@example.com",
        "51234567@example.com",
    ],
    "[phone]": [
        "+372 5123 4567",
        "+37251234567",
        "0049 30 123456",
        "+1-202-555-0143",
        "+44 (0)20 7946 0958",
        "(202) 555-0143",
        "202-555-0143",
        "1-202-555-0143",
        "＋３７２ ５１２３ ４５６７",
        "+372\u00a05123\u202f4567",
    ],
    "[card]": [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111111111111111",
        "3782 822463 10005",
        "6759649826438453",
        "4222222222222",
        "6304000000000000000",
    ],
    "[IBAN]": [
        "EE382200221020145685",
        "EE38 2200 2210 2014 5685",
        "ee38 2200 2210 2014 5685",
        "GB29 NWBK 6016 1331 9268 19",
        "FR14 2004 1010 0505 0001 3M02 606",
        "NO93 8601 1117 947",
        "LC55 HEMM 0001 0001 0012 0012 0002 3015",
        "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
    ],
}


# Without a country code, as people in a country write their own numbers.
LOCAL = [
    *[("GB", "(020) 7946 0958"), ("GB", "07911 123456"), ("FR", "01.23.45.67.89")],
    *[("DE", "030/1234567"), ("DE", "030.1234567"), ("PL", "512 345 678"), ("EE", "5123 4567")],
    *[("EE", "51234567"), ("RU", "8 (912) 345-67-89"), ("US", "2025550143")],
    *[("JP", "090-1234-5678"), ("EG", "٠١٠٠ ١٢٣ ٤٥٦٧"), ("EE", "372 5123 4567")],
]


@pytest.mark.parametrize(
    "around", ["{}", "It is {}.", "({})", "a: {}, b", "“{}”", "1) {}\n2)", "**{}**"]
)
@pytest.mark.parametrize(
    ("kind", "words"), [(kind, words) for kind, all_words in FOUND.items() for words in all_words]
)
def test_personal_data_is_replaced_by_its_kind(kind, words, around):
    assert mask(around.format(words)) == around.format(kind)


@pytest.mark.parametrize("around", ["{}", "It is {}.", "({})", "a: {}, b", "**{}**"])
@pytest.mark.parametrize(("country", "words"), LOCAL)
def test_national_numbers_are_found_for_the_sites_country(settings, country, words, around):
    text = around.format(words)
    assert mask(text) == text
    settings.PHONE_REGION = country
    assert mask(text) == around.format("[phone]")


@pytest.mark.parametrize(
    "text", ["limit 2147483647", "row 1 2 3 4 5 6 7 8 9 10", "flight 1234 5678 910", "4294967295"]
)
def test_other_groupings_are_not_north_american_numbers(settings, text):
    settings.PHONE_REGION = "US"
    assert mask(text) == text


@pytest.mark.parametrize(("country", "words"), LOCAL)
@pytest.mark.parametrize("word", ["phone: ", "Call me at ", "WhatsApp ", "tel. ", "mobiil: "])
def test_numbers_after_a_word_for_phone_are_found(country, words, word):
    assert mask(f"{word}{words}.") == f"{word}[phone]."


@pytest.mark.parametrize(
    "text",
    [
        "ticket-7012345",
        "order #7012345678",
        "INV-2024-000123",
        "https://shop.example/orders/7012345678",
        "call_1234567890123",
        "RR123456789EE",
        "550e8400-e29b-41d4-a716-446655440000",
        "12345678-1234-1234-1234-123456789012",
        "8f14e45fceea167a5a36dedd4bea2543",
        "2026-11-23T17:24:35.123456+00:00",
        "2026-11-23 17:24:35",
        "2026-11-01/2026-11-30",
        "23.11.2026 17:24",
        "11/23/2026 11/24/2026",
        "20261123T103000",
        "1732382675",
        "1732382675123",
        "gpt-4o-2024-08-06",
        "claude-3-5-sonnet-20241022",
        "1 234 567 tokens",
        "12 345 678,90",
        "price 1,234,567.89",
        "$123 456 789",
        "123 456 789 EUR",
        "59.4369608, 24.7535747",
        "59.4369608 24.7535747",
        "192.168.100.200",
        "978-3-16-148410-0",
        "2024-2025",
        "1 2 3 4 5 6 7 8 9",
        "lodash@4.17.21",
        "@jane a@b",
        "EE39 is a road, EE38 too",
    ],
)
def test_text_that_only_looks_like_personal_data_stays(text):
    assert mask(text) == text
    assert mask(f"It says {text} there") == f"It says {text} there"


def test_cards_and_ibans_with_wrong_check_digits_stay():
    assert mask("4111 1111 1111 1112") != "[card]"
    assert "[IBAN]" not in mask("EE39 2200 2210 2014 5685")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("call me at 51234567", "call me at [phone]"),
        ("phone=51234567", "phone=[phone]"),
        ("tel:+37251234567", "tel:[phone]"),
        ("tel 5123 4567/5234 5678", "tel [phone]/[phone]"),
        ("mob 5123 4567 23.11.2026 17:24", "mob [phone] 23.11.2026 17:24"),
        ("4111 1111 1111 1111 12/27", "[card] 12/27"),
        ("VISA4111111111111111", "VISA[card]"),
        ("[Jane](mailto:jane@example.com)", "[Jane](mailto:[e-mail])"),
        ("jane@example.com,bob@example.com", "[e-mail],[e-mail]"),
        (r"x\njane@example.com\n+372 5123 4567", r"x\n[e-mail]\n[phone]"),
        (r"C:\jane@example.com", r"C:\[e-mail]"),
    ],
)
def test_text_next_to_personal_data_stays(text, masked):
    assert mask(text) == masked


def test_letters_that_only_fold_to_latin_ones_are_not_part_of_an_iban():
    text = "EE38 2200 2210 2014 568\u017f EE38 220\u212a 2210 2014 5685"
    assert "[IBAN]" not in mask(text)


def test_masking_twice_changes_nothing():
    for kind, all_words in FOUND.items():
        for words in all_words:
            assert mask(mask(words)) == mask(words), kind


# JSON

NESTED = json.dumps({"text": "ü\njane@example.com", "n": [1.50]})
DOCUMENTS = [
    ({"a": "jane@example.com", "n": 1.5}, {"a": "[e-mail]", "n": 1.5}),
    ({"jane@example.com": None}, {"[e-mail]": None}),
    (["+372 5123 4567", True, "x"], ["[phone]", True, "x"]),
    (
        {"card": 4111111111111111, "id": 4111111111111112},
        {"card": "[card]", "id": 4111111111111112},
    ),
    ({"mobile_phone": 37251234567}, {"mobile_phone": "[phone]"}),
    ({"phones": ["51234567"], "order": "51234567"}, {"phones": ["[phone]"], "order": "51234567"}),
    ("jane@example.com", "[e-mail]"),
    (4111111111111111, "[card]"),
    ('a "quoted" \\ jane@example.com', 'a "quoted" \\ [e-mail]'),
    ({"at": 1732382675123, "took": 0.1234567891}, {"at": 1732382675123, "took": 0.1234567891}),
]


@pytest.mark.parametrize(("document", "masked"), DOCUMENTS)
def test_json_stays_json(document, masked):
    assert json.loads(mask_json(json.dumps(document))) == masked
    assert json.loads(mask_json(json.dumps(document, ensure_ascii=False))) == masked


def test_json_inside_json_stays_json():
    masked = json.loads(mask_json(json.dumps({"request": NESTED})))
    assert json.loads(masked["request"]) == {"text": "ü\n[e-mail]", "n": [1.50]}


def test_everything_else_stays_exactly_the_same():
    text = (
        '{"a":  1.500, "b" : [ "\\u00e4", 1e400, 1234567890123456789012345 ], "c": "a@b.example"}'
    )
    assert mask_json(text) == text.replace("a@b.example", "[e-mail]")


def test_json_of_any_depth_is_masked():
    deep = "[" * 50_000 + '"jane@example.com"' + "]" * 50_000
    assert mask_json(deep) == deep.replace("jane@example.com", "[e-mail]")


@pytest.mark.parametrize(
    "text",
    [
        "[1] jane@example.com",
        '"a" +372 5123 4567',
        "[+372 5123 4567]",
        "{+44} phone 7946 0958",
        '"never closed jane@example.com',
        '"two\nlines jane@example.com"',
        r'"no \x escape jane@example.com"',
        '{"a": jane@example.com}',
    ],
)
def test_text_that_only_begins_like_json_is_masked_as_text(text):
    assert "[e-mail]" in mask(text) or "[phone]" in mask(text)


@pytest.mark.parametrize("length", range(5, 60))
def test_json_that_was_cut_stays_json_up_to_the_cut(length):
    text = '{"a": "x", "text": "ask jane@example.com", "n": 4111111111111111}'[:length]
    masked = mask_json(text, cut_end=True)
    shown = [node.value for node in json_text.tree(masked).nodes if node.kind != "close"]
    assert shown[:1] == ["{"]
    assert not any(part in masked for part in ("jane", "exam", "4111"))


def test_a_query_string_is_masked_by_its_decoded_values():
    assert mask_query("search=%2B372+5123+4567&agent=1") == "search=%5Bphone%5D&agent=1"
    assert mask_query("search=jane%40example.com") == "search=%5Be-mail%5D"


# Texts that were cut off

WHOLE = (
    "Please write to jane.doe@example.com or call +372 5123 4567, card 4111 1111 1111 1111, "
    "account EE38 2200 2210 2014 5685 at once."
)
PARTS = [
    "jane",
    "doe",
    "example.c",
    "372 5",
    "5123",
    "4567",
    "4111",
    "1111",
    "EE38",
    "2200",
    "5685",
]


@pytest.mark.parametrize("place", range(1, len(WHOLE)))
def test_no_part_is_left_at_a_cut(place):
    for masked in (mask(WHOLE[:place], cut_end=True), mask(WHOLE[place:], cut_start=True)):
        assert not [part for part in PARTS if part in masked], masked


SPELT = (
    "to %2B372%205123%204567, +372\u20115123\u20134567, +٣٧٢ ٥١٢٣ ٤٥٦٧, 4111&nbsp;1111&nbsp;1111"
    "&nbsp;1111, jane&#64;example.com, jan\u200be%40example.com and +372 5123\n4567, "
    "ee38\u202f2200\u202f2210\u202f2014\u202f5685 at once"
)


@pytest.mark.parametrize("place", range(1, len(SPELT)))
def test_no_part_is_left_at_a_cut_in_any_spelling(place):
    for masked in (mask(SPELT[:place], cut_end=True), mask(SPELT[place:], cut_start=True)):
        shown = masked.replace("[e-mail]", "")
        assert not re.search(r"jan|xam|\d\d|ee38|\+.?\d|com", shown), masked


def test_only_the_cut_ends_are_left_out():
    assert mask("one two thr", cut_end=True) == "one two …"
    assert mask("ne two three", cut_start=True) == "… two three"
    assert mask("", cut_end=True) == "…"


# Hostile texts

LENGTH = 300_000


@pytest.mark.thorough
@pytest.mark.parametrize(
    "piece",
    ["@", "1", "4", "a.", "a@", "a@a.", "\\", "\\u0041", '"', '"' + "a" * 63, "%40", "+", "[",
     "EE11 ", "NO11 ", "a ", '"a@a.bb",', "＠", " ", "%25", "&amp;", "\u200b", "=\n", "٣"],
)  # fmt: skip
def test_hostile_texts_are_masked_quickly(piece):
    text = piece * (LENGTH // len(piece))
    began = time.process_time()
    mask(text)
    mask(text, cut_start=True, cut_end=True)
    assert time.process_time() - began < 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        *("1.", "4 ", "44-", "4444 ", "+372 5123 4567 ", "550e8400-", "12/", "(1", "phone "),
        *(
            "+1",
            "(+1",
            "00 1",
            "%2B1",
            "&#43;1",
            "&amp;#43;1",
            "\\u002b1",
            "1\u200b",
            "1\n",
            "1=\n",
        ),
        *("phone 1234567 ", "call 1234567/", "order 1234567 ", "+372 5123\n4567 ", "4111\n1111\n"),
    ],
)
def test_twice_the_text_takes_twice_the_time(piece):
    def seconds(length):
        text = piece * (length // len(piece))
        began = time.process_time()
        mask(text)
        return time.process_time() - began

    assert seconds(400_000) < 10 * seconds(100_000) + 0.1


NAMED = [
    *('{{"phone": "{}"}}', 'Error: {{"phone": "{}"}}', "{{'phone': '{}'}}", "{{'phone': {}}}"),
    *(
        r"{{\"phone\": \"{}\"}}",
        r"x {{\\\"phone\\\": \\\"{}\\\"}}",
        '{{"phone":{{"number":"{}"}}}}',
    ),
    *("**Phone:** {}", "**Phone**: `{}`", "Phone:\n{}", "phone={}", 'phone_number => "{}"'),
    *("Telefon: {}", "Teléfono: {}", "Téléphone : {}", "Telefonnummer: {}", "telefon = {}"),
    *('{{"contactNumber": "{}"}} x', "contact_number: {}", '{{"callbackNumber": {}}}', "gsm: {}"),
    *(
        'x {{"phone": {{"country": "EE", "number": "{}"}}}}',
        'x {{"phones": ["+1 202 555 0143", "{}"]}}',
    ),
    *("('phone', '{}')", "<phone>{}</phone>", "| Phone | {} |", "?phone={}&x=1"),
    *("celular: {}", "Móvil: {}", "전화: {}", "phone: '{}'", "Mob.nr. {}", "номер телефона: {}"),
    *('{{"mobil": "{}"}}', '{{"customer": {{"telefon": {{"main": {}}}}}}}', "тел / телефон: {}"),
]


@pytest.mark.parametrize("form", NAMED)
def test_a_number_under_a_phone_key_is_masked_in_every_format(form):
    whole = form.format("37251234567")
    assert "37251234567" not in mask(whole)
    assert "[phone]" in mask(whole)
    # Cut somewhere after the number, or with text around it, it is not JSON.
    for text in (f"{whole} and more", f"It said {whole}"):
        assert "37251234567" not in mask(text)
        assert "37251234567" not in mask(text, cut_end=True)
        assert "37251234567" not in mask(text, cut_start=True)
    if form.startswith('{{"') and form.endswith("}}"):
        assert "37251234567" not in mask_json(whole)


@pytest.mark.parametrize(
    "text",
    [
        *("order 12345678", "order_id: 12345678", '{"order": "12345678"} x', "ticket=12345678"),
        *('[{"phone": "1"}, "12345678"]', '{"phone": {"n": 1}, "order": "12345678"}'),
        *('x {"phone": {"n": "1"}, "order": "12345678"}', "conference room 12345678"),
    ],
)
def test_other_keys_do_not_make_phone_numbers(text):
    assert mask(text) == text


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ['["', "[[", '{"a":', '{"phone": "37251234567"}, ', "phone ", 'phone:"', "\\", "phone: {"],
)
def test_json_inside_a_text_takes_time_in_proportion(text):
    def seconds(times):
        whole = text * (times * 60_000 // len(text)) + "1234567"
        began = time.thread_time()
        mask(whole)
        return time.thread_time() - began

    assert seconds(4) < 12 * max(seconds(1), 0.01)


@pytest.mark.slow
def test_our_own_check_agrees_with_the_library():
    chance = random.Random(3)
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        kinds = [phonenumbers.example_number_for_type(regions[0], kind) for kind in range(11)]
        known = [phonenumbers.national_significant_number(each) for each in kinds if each]
        # Altered: with a national prefix, too long, too short.
        numbers = [f"{prefix}{each}" for each in known for prefix in ("", "0", "8", "1", "9")]
        numbers += [each[:-1] for each in known] + [f"{each}1" for each in known]
        numbers += [str(chance.randrange(10 ** chance.randint(4, 12))) for _ in range(20)]
        for number in numbers:
            digits = f"{code}{number}"
            assert phones.is_valid_abroad(digits) == phones.is_valid(f"+{digits}"), digits
    assert not phones.is_valid_abroad("012025550143")
