"""Messages in JSON, or with several parts, as people read them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations.display.parts import parts
from conversations.display.readable import readable, shown
from privacy import masking

OUTPUT = {"vastus": "Teie tellimus on tühistatud", "märk": "😀 “jah”", "n": float("nan")}
STORED = json.dumps(OUTPUT)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (STORED, json.dumps(OUTPUT, ensure_ascii=False)),
        ('["\\u00fc"]', '["ü"]'),
        ('"\\u00fc \\"x\\""', '"ü \\"x\\""'),
        ('{"a": "\\\\u00fc \\\\\\u00fc"}', '{"a": "\\\\u00fc \\\\ü"}'),
        ('{"a": "\\u0022\\u000a\\ud800\\u202e"}', '{"a": "\\u0022\\u000a\\ud800\\u202e"}'),
        ("t\\u00fchistatud", "t\\u00fchistatud"),
        ("[Note] C:\\u00fc", "[Note] C:\\u00fc"),
        ("", ""),
    ],
)
def test_letters_that_json_escapes_are_decoded(content, words):
    assert readable(content) == words


@given(st.recursive(st.text() | st.integers(), lambda each: st.lists(each) | st.dictionaries(
    st.text(), each)))  # fmt: skip
def test_decoded_json_has_the_same_value(value):
    stored = json.dumps(value)
    if not parts(stored):
        assert json.loads(readable(stored)) == value


@pytest.mark.parametrize("end", range(1, len(STORED)))
def test_a_cut_never_splits_a_letter_visibly(end):
    whole = json.dumps(OUTPUT, ensure_ascii=False)
    assert whole.startswith(readable(STORED[:end]))


TEXT = {"type": "text", "text": "Is this it?"}


@pytest.mark.parametrize(
    ("content", "text", "note"),
    [
        # OpenAI
        ([TEXT, {"type": "image_url", "image_url": {"url": "data:x"}}], "Is this it?", "1 image"),
        (
            [
                {"type": "input_text", "text": "Sõnum"},
                {"type": "input_image", "image_url": "https://x"},
                {"type": "input_image", "file_id": "f"},
                {"type": "input_file", "filename": "report.pdf", "file_data": "data:x"},
                {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
            ],
            "Sõnum",
            "2 images, file report.pdf, 1 audio recording",
        ),
        ([{"type": "file", "file": {"filename": "a.pdf", "file_data": "x"}}], "", "file a.pdf"),
        ([{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}], "a\nb", ""),
        ([{"type": "text", "text": {"value": "Hi", "annotations": []}}], "Hi", ""),
        (TEXT, "Is this it?", ""),
        ({"role": "user", "content": [TEXT]}, "Is this it?", ""),
        # Anthropic
        (
            [
                TEXT,
                {"type": "image", "source": {"type": "base64", "data": "x"}},
                {"type": "document", "source": {"type": "url", "url": "x"}, "title": "T.pdf"},
                {"type": "tool_use", "id": "t", "name": "get_weather", "input": {}},
                {"type": "tool_result", "tool_use_id": "t", "content": "sunny"},
                {"type": "thinking", "thinking": "hm", "signature": "s"},
            ],
            "Is this it?",
            "1 image, file T.pdf, tool call get_weather, 1 tool result, 1 thought",
        ),
        # Gemini
        (
            {
                "role": "user",
                "parts": [
                    {"text": "Mis see on?"},
                    {"inline_data": {"mime_type": "image/png", "data": "x"}},
                    {"inlineData": {"mimeType": "application/pdf", "displayName": "r.pdf"}},
                    {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://x"}},
                    {"functionCall": {"name": "f", "args": {}}},
                    {"text": "thinking", "thought": True},
                ],
            },
            "Mis see on?",
            "1 image, file r.pdf, 1 video, tool call f, 1 thought",
        ),
        ([{"text": "one"}, {"text": "two"}], "one\ntwo", ""),
        # The messages of a response are its text.
        (
            [
                {"type": "reasoning", "id": "r", "summary": []},
                {"type": "message", "role": "assistant", "status": "completed", "content": [
                    {"type": "output_text", "text": "Tere", "annotations": []}]},
                {"type": "web_search_call", "id": "w", "status": "completed"},
                {"type": "message", "role": "assistant", "content": "tulemast"},
            ],
            "Tere\ntulemast",
            "1 thought, 1 web search call",
        ),
        # The transcript of a recording is text.
        (
            [
                {"type": "output_audio", "data": "x", "transcript": "Kuulen."},
                {"type": "input_audio", "input_audio": {"data": "x", "transcript": "Kas kuuled?"}},
            ],
            "Kuulen.\nKas kuuled?",
            "2 audio recordings",
        ),
        (["First", {"type": "text", "text": "second"}, "third"], "First\nsecond\nthird", ""),
        ([{"fileData": {"mimeType": "image/png", "fileUri": "gs://x"}}], "", "1 image"),
        ([{"functionResponse": {"name": "f", "response": {}}}], "", "1 tool result"),
        # Unknown parts are named by their type.
        ([TEXT, {"type": "hologram_url", "x": 1}], "Is this it?", "1 hologram url"),
    ],
)  # fmt: skip
def test_parts_read_as_their_text_with_a_note_about_the_others(content, text, note):
    for stored in (json.dumps(content), json.dumps(content, ensure_ascii=False, indent=2)):
        found = parts(stored)
        assert (found.text, found.note) == (text, note)
        assert readable(stored) == "\n".join(filter(None, [text, note and f"[{note}]"]))


@pytest.mark.parametrize(
    "content",
    [
        {"vastus": "x"},
        {"type": "refund", "text": "x"},
        {"type": "image", "name": "no image"},
        {"text": "the output of a workflow"},
        # Objects that somebody made, with more to read in them.
        {"type": "text", "text": "x", "priority": "high"},
        {"type": "document", "title": "Contract", "url": "https://x", "summary": "Long"},
        {"type": "image", "url": "https://x", "caption": "A cat"},
        # Two speakers.
        [
            {"type": "message", "role": "user", "content": "Where?"},
            {"type": "message", "role": "assistant", "content": [TEXT]},
        ],
        [{"type": "file", "name": "a row"}],
        [{"name": "a"}, TEXT],
        [1, "two"],
        ["a", "b"],
        [],
        [{"type": "text", "text": ""}],
        {"type": 1, "text": "x"},
        {"parts": {"a": 1}, "content": 3},
    ],
)
def test_other_json_is_not_taken_for_parts(content):
    assert parts(json.dumps(content)) is None


@pytest.mark.parametrize("content", ["[{'type': 'text', 'text': 'x'}]", '[{"type": "text"', "[x]"])
def test_text_that_is_not_json_is_not_taken_for_parts(content):
    assert parts(content) is None


def test_escapes_that_people_typed_are_not_decoded():
    assert readable('{"a": "\\u00fc"}', "tool") == '{"a": "ü"}'
    for role in ("user", "", "support"):
        assert readable('{"a": "\\u00fc"}', role) == '{"a": "\\u00fc"}'
        assert readable('[{"type": "text", "text": "\\u00fc"}]', role) == "ü"


def test_the_beginning_of_parts_is_read_up_to_the_cut():
    stored = json.dumps([{"type": "text", "text": "Kas see on õige?"}, {"type": "image_url"}])
    place = stored.index("\\u00f5")
    assert readable(stored[: place + 6]) == "Kas see on õ"
    assert readable(stored[: place + 5]) == "Kas see on "
    image = json.dumps([{"type": "image_url", "image_url": {"url": "data:" + "x" * 500}}])
    assert readable(image[:200]) == "[1 image]"


def shown_masked(stored: str, length: int) -> str:
    with masking.active():
        return shown(stored, length)


def test_personal_data_that_an_escape_hides_is_masked():
    address = '{"to": "jane\\u0040example.com and", "tel": "\\u0034155550108"}'
    assert "1555" not in shown_masked(address, 1000)
    assert "jane" not in shown_masked(address, len(address))
    for stored in (address, json.dumps([{"type": "text", "text": "jane@example.com"}])):
        with masking.active():
            for length in (None, 1000):
                words = shown(stored, length)
                assert "[e-mail " in words
                assert "jane" not in words
    assert shown('{"a": "\\u00fc"}', 200) == '{"a": "ü"}'
