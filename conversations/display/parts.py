"""
Messages with several parts, in the JSON of OpenAI, Anthropic and Gemini: their text, and a note
about what else they contain.
"""

from collections import Counter
from dataclasses import dataclass

from django.template.defaultfilters import pluralize

from backoffice import json_text

# {type of part: key of its text}
TEXTS = {
    **dict.fromkeys(("text", "input_text", "output_text", "summary_text"), "text"),
    "refusal": "refusal",
}
IMAGE, SOUND, VIDEO, FILE = "image", "audio recording", "video", "file"
CALL, RESULT, THOUGHT = "tool call", "tool result", "thought"
# {type of part: (what it is, keys of which it has at least one)}
OTHERS = {
    **dict.fromkeys(
        ("image", "image_url", "input_image", "output_image", "image_file"),
        (IMAGE, {"image_url", "image_file", "source", "image", "url", "data", "base64", "file_id"}),
    ),
    **dict.fromkeys(
        ("audio", "input_audio", "output_audio", "audio_url"),
        (
            SOUND,
            {"input_audio", "audio", "audio_url", "transcript", "source", "url", "data", "base64"},
        ),
    ),
    **dict.fromkeys(
        ("video", "video_url", "input_video"),
        (VIDEO, {"video", "video_url", "source", "url", "data", "file_id"}),
    ),
    **dict.fromkeys(
        ("file", "input_file", "document", "container_upload"),
        (FILE, {"file", "file_id", "file_data", "file_url", "filename", "source", "url", "data"}),
    ),
    **dict.fromkeys(
        ("tool_use", "server_tool_use", "mcp_tool_use", "function_call"),
        (CALL, {"input", "arguments"}),
    ),
    **dict.fromkeys(
        ("tool_result", "mcp_tool_result", "web_search_tool_result", "function_call_output"),
        (RESULT, {"tool_use_id", "call_id"}),
    ),
    **dict.fromkeys(
        ("thinking", "redacted_thinking", "reasoning"),
        (THOUGHT, {"thinking", "data", "summary", "signature", "encrypted_content"}),
    ),
    "search_result": ("search result", {"content", "source"}),
}
# What a single part, outside a list, may have besides its text. With anything else, it is an object
# that somebody made, with more in it to read.
BESIDE_TEXT = {"type", "id", "annotations", "citations", "cache_control", "logprobs"}
# Gemini's parts have a key that names their kind.
GEMINI = {
    "inline_data": FILE,
    "file_data": FILE,
    "function_call": CALL,
    "function_response": RESULT,
    "executable_code": "piece of code",
    "code_execution_result": "result of code",
}
BESIDE = {"thought", "thought_signature", "video_metadata", "media_resolution"}
MEDIA = {"image": IMAGE, "audio": SOUND, "video": VIDEO}
WORDS = ("transcript",)
NAMES = ("filename", "file_name", "display_name", "displayName", "title", "name")
# Keys of the object around a message's parts. MESSAGE is the type of such an object among others.
MESSAGE = "message"
ROUND = {
    *("content", "parts", "role", "type", "id", "model", "name", "status"),
    *("stop_reason", "stop_sequence", "usage", "container", "phase"),
}
# Every text with parts contains one of these.
HINTS = ('"type"', '"text"', '"parts"', '"inline', '"file', '"function')


@dataclass(frozen=True)
class Parts:
    text: str
    # What else it contains, such as "2 images, file report.pdf".
    note: str

    def __str__(self):
        return "\n".join(filter(None, (self.text, self.note and f"[{self.note}]")))


def parts(content: str) -> Parts | None:
    """The parts of a message or of its beginning; None if it does not consist of parts."""
    if content.lstrip()[:1] not in ("[", "{"):
        return None
    if not any(name in content for name in HINTS):
        return None
    value = json_text.beginning(content)
    items = flat(items_of(value))
    if not items:
        return None
    texts: list[str] = []
    others: list[tuple[str, str]] = []
    unknown: list[object] = []
    known = 0
    for item in items:
        if isinstance(item, str):
            texts.append(item)
            continue
        found = part(item)
        if found is None:
            unknown.append(item)
            continue
        known += 1
        text, kind, name = found
        if kind:
            others.append((kind, name))
        if text:
            texts.append(text)
    # The last part may have been cut off.
    if unknown and not json_text.is_json(content) and unknown[-1] is items[-1]:
        del unknown[-1]
    for item in unknown:
        if isinstance(item, dict) and isinstance(item.get("type"), str):
            others.append((item["type"].replace("_", " "), ""))
        else:
            return None
    found = Parts(encodable("\n".join(texts)), encodable(noted(others)))
    return found if known and str(found) else None


def items_of(value) -> list:
    if isinstance(value, dict):
        if value.keys() <= ROUND:
            for name in ("parts", "content"):
                if isinstance(value.get(name), list):
                    return value[name]
            if isinstance(value.get("content"), dict):
                return items_of(value["content"])
        kind = value.get("type")
        alone = isinstance(kind, str) and (
            kind == MESSAGE or (kind in TEXTS and value.keys() <= BESIDE_TEXT | {TEXTS[kind]})
        )
        return [value] if alone else []
    return value if isinstance(value, list) else []


def flat(items: list) -> list:
    """The items, with nested messages replaced by their parts; empty if several people speak."""
    found, speakers = [], set()
    for item in items:
        inner = item.get("content") if isinstance(item, dict) else None
        if inner and item.get("type") == MESSAGE and isinstance(inner, list | str):
            speakers.add(str(item.get("role")))
            found += inner if isinstance(inner, list) else [{"type": "text", "text": inner}]
        else:
            found.append(item)
    return found if len(speakers) < 2 else []


def part(item) -> tuple[str, str, str] | None:
    """(text, what else it is, its name) of a part; None if its type is unknown."""
    if not isinstance(item, dict):
        return None
    kind = item.get("type")
    if kind is None:
        return gemini_part(item)
    if not isinstance(kind, str):
        return None
    if key := TEXTS.get(kind):
        text = item.get(key)
        text = text.get("value") if isinstance(text, dict) else text
        return (text, "", "") if isinstance(text, str) else None
    noun, keys = OTHERS.get(kind, ("", frozenset()))
    if not keys & item.keys():
        return None
    return spoken(item) if noun == SOUND else "", *described(noun, item)


def spoken(item: dict) -> str:
    """What was said in a recording, if it comes with a transcript."""
    return first_text([item, *(each for each in item.values() if isinstance(each, dict))], WORDS)


def gemini_part(item: dict) -> tuple[str, str, str] | None:
    given = {snake_case(key): value for key, value in item.items()}
    kinds = given.keys() - BESIDE
    if kinds == {"text"} and isinstance(given["text"], str):
        return ("", THOUGHT, "") if given.get("thought") is True else (given["text"], "", "")
    if len(kinds) != 1 or (kind := kinds.pop()) not in GEMINI or not isinstance(given[kind], dict):
        return None
    return ("", *described(GEMINI[kind], given[kind]))


def snake_case(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name)


def described(noun: str, item: dict) -> tuple[str, str]:
    """What a part is (a file's kind follows from its media type), and its name."""
    around = [item, *(value for value in item.values() if isinstance(value, dict))]
    name = ""
    if noun in (FILE, CALL):
        name = first_text(around, NAMES)
    media = first_text(around, ("mime_type", "mimeType", "media_type"))
    if noun == FILE:
        noun = MEDIA.get(media.partition("/")[0], FILE)
    return noun, name


def first_text(around: list[dict], names: tuple[str, ...]) -> str:
    for name in names:
        for each in around:
            if isinstance(each.get(name), str) and each[name]:
                return each[name]
    return ""


def noted(others: list[tuple[str, str]]) -> str:
    """[("image", ""), ("image", ""), ("file", "a.pdf")] as "2 images, file a.pdf"."""
    return ", ".join(
        f"{noun} {name}" if name else f"{count} {noun}{pluralize(count)}"
        for (noun, name), count in Counter(others).items()
    )


def encodable(text: str) -> str:
    """Replaces half surrogate pairs, which JSON may contain but no page can encode."""
    return text.encode("utf-8", "replace").decode()
