"""Personal data in JSON documents, which stay JSON: there, a key says what a number is."""

import json
import re

from backoffice import json_text

from . import phone_words
from .numbers import MAY_HAVE_NUMBER, card_numbers
from .spelling import SPECIAL
from .stand_ins import CARD, CUT, PHONE, without_stand_ins
from .text_masking import Replace, masked_words, without_cut_ends

# Whether there is anything to look for at all: digits and signs may be escaped, and under the key
# "preview" is a text that was cut.
WORTH_LOOKING = (re.compile("@|preview"), MAY_HAVE_NUMBER, SPECIAL)
JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")


class Masker:
    """Masks texts and documents; `replace` is called with the kind and the words of each value."""

    def __init__(self, replace: Replace):
        self.replace = replace

    def text(self, text: str, *, cut_start=False, cut_end=False, is_phone=False, context="") -> str:
        """The text masked, with the JSON documents in it."""
        dropped, text = without_cut_ends(text, cut_start, cut_end)
        if json_text.BEGINS.search(text) and ("\\u" in text or MAY_HAVE_NUMBER.search(text)):
            text = self.documents_within(text)
        masked = masked_words(
            text, self.replace, is_phone=is_phone, context=context + dropped[-80:]
        )
        return f"{CUT if cut_start else ''}{masked}{CUT if cut_end else ''}"

    def documents_within(self, text: str) -> str:
        """Mask the JSON documents that stand within a text: there, a key says what a number is."""
        pieces, done = [], 0
        for start, end in json_text.within(text):
            document = text[start:end]
            pieces += [text[done:start], self.document(document) or document]
            done = end
        return "".join([*pieces, text[done:]])

    def document(self, text: str, *, cut_end=False, is_phone=False) -> str | None:
        """
        The text with strings, keys and numbers masked one by one; None if it is not JSON. At a cut
        end, the last string or number is masked as one that was cut.
        """
        if not cut_end and not any(pattern.search(text) for pattern in WORTH_LOOKING):
            return text
        try:
            return self.tokens(text, cut_end, is_phone)
        except ValueError:
            # Not a JSON string, such as a quoted sentence with a line break.
            return None

    def tokens(self, text: str, cut_end: bool, is_phone: bool) -> str | None:
        pieces, done, position = [], 0, 0
        key, before, source = "", "", ""
        # Of each object and list around this place: its key, and whether it is a phone's.
        around: list[tuple[str, bool]] = []
        in_phone = is_phone
        # Every token has a kind.
        while (found := json_text.TOKEN.match(text, position)) and (kind := found.lastgroup):
            last, source = source, found[kind]
            position = found.end()
            if kind == "separator":
                if source == ":":
                    key = last
            elif kind == "close":
                if around:
                    key, in_phone = around.pop()
            else:
                if before in ("string", "number", "literal", "close"):
                    # Not JSON but words side by side, such as "[1] [2]".
                    return None
                masked = source
                is_phone = self.is_phone(key, in_phone)
                if kind == "open":
                    around.append((key, in_phone))
                    in_phone = is_phone
                elif kind == "string":
                    # Under this key the runtime keeps the beginning of a value that is too large.
                    is_cut = key == '"preview"'
                    masked = self.string(source, key, is_phone=is_phone, cut_end=is_cut)
                elif kind == "number":
                    if not JSON_NUMBER.fullmatch(source):
                        return None
                    is_cut = cut_end and position == len(text)
                    masked = self.number(source, key, is_phone=is_phone, is_cut=is_cut)
                if masked != source:
                    pieces += [text[done : found.start(kind)], masked]
                    done = position
                    # As a key, it says the same when it is masked once more.
                    source = masked
            before = kind
        rest = text[position:].lstrip()
        if rest and not cut_end:
            return None
        if rest.startswith('"'):
            words = self.content(json_text.whole_part(rest), cut_end=True)
            pieces += [text[done : len(text) - len(rest)], as_string(words)[:-1]]
            done = len(text)
        elif not any(word.startswith(rest) for word in (*json_text.CONSTANTS, "-")):
            return None
        return "".join([*pieces, text[done:]])

    def is_phone(self, key: str, around: bool) -> bool:
        """Whether the values under a key are phones'; `around`: those of the key around it are."""
        key = without_stand_ins(key)
        return not phone_words.names_a_thing(key) if around else phone_words.names_a_phone(key)

    def string(self, source: str, key: str, *, is_phone: bool, cut_end: bool) -> str:
        """Mask the source of a JSON string."""
        if (
            not is_phone
            and not cut_end
            and not any(pattern.search(source) for pattern in WORTH_LOOKING)
        ):
            return source
        words = json_text.decoded(source)
        masked = self.content(words, key, is_phone=is_phone, cut_end=cut_end)
        return source if masked == words else as_string(masked)

    def content(self, words: str, key: str = "", *, is_phone=False, cut_end=False) -> str:
        """Mask a JSON string's text. It may be JSON: the runtime keeps model calls that way."""
        if looks_like_json(words):
            found = self.document(words, cut_end=cut_end, is_phone=is_phone)
            if found is not None:
                return found
        context = f"{key[-80:]}: " if key else ""
        return self.text(words, cut_end=cut_end, is_phone=is_phone, context=context)

    def number(self, source: str, key: str, *, is_phone: bool, is_cut: bool) -> str:
        """Mask the source of a JSON number, which becomes a string if it was personal."""
        if is_cut:
            return as_string(CUT)
        if source.isdecimal() and card_numbers(source, context=f"{key[-80:]}: "):
            return as_string(self.replace(CARD, source))
        if is_phone and re.fullmatch(r"\d{7,15}", source):
            return as_string(self.replace(PHONE, source))
        return source


def looks_like_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[", '"')


def as_string(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)
