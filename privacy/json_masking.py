"""Masks personal data in JSON documents, which stay JSON. Their keys say what a number is."""

import json
import re

from backoffice import json_text

from . import phone_words
from .numbers import MAY_HAVE_NUMBER, card_numbers
from .spelling import SPECIAL
from .stand_ins import CARD, CUT, PHONE, without_stand_ins
from .text_masking import Replace, masked_words, without_cut_ends

# Whether a text is worth examining: digits and signs may be escaped, and the key "preview" holds a
# text that was cut.
WORTH_LOOKING = (re.compile("@|preview"), MAY_HAVE_NUMBER, SPECIAL)
JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")


class Masker:
    """Masks texts and documents; `replace` gets the kind and the text of each value."""

    def __init__(self, replace: Replace):
        self.replace = replace

    def text(self, text: str, *, cut_start=False, cut_end=False, is_phone=False, context="") -> str:
        """Mask a text and the JSON documents in it."""
        dropped, text = without_cut_ends(text, cut_start, cut_end)
        if json_text.BEGINS.search(text) and ("\\u" in text or MAY_HAVE_NUMBER.search(text)):
            text = self.documents_within(text)
        masked = masked_words(
            text, self.replace, is_phone=is_phone, context=context + dropped[-80:]
        )
        return f"{CUT if cut_start else ''}{masked}{CUT if cut_end else ''}"

    def documents_within(self, text: str) -> str:
        """Mask the JSON documents inside a text, where keys say what a number is."""
        pieces, done = [], 0
        for start, end in json_text.within(text):
            document = text[start:end]
            pieces += [text[done:start], self.document(document) or document]
            done = end
        return "".join([*pieces, text[done:]])

    def document(self, text: str, *, cut_end=False, is_phone=False) -> str | None:
        """
        Mask strings, keys and numbers one by one; None if the text is not JSON. If the end was cut
        off, the last string or number is masked as one that was cut.
        """
        if not cut_end and not any(pattern.search(text) for pattern in WORTH_LOOKING):
            return text
        try:
            return self.tokens(text, cut_end, is_phone)
        except ValueError:
            # Not a JSON string after all, for example a quoted sentence with a line break.
            return None

    def tokens(self, text: str, cut_end: bool, is_phone: bool) -> str | None:
        pieces, done, position = [], 0, 0
        key, before, source = "", "", ""
        # For each surrounding object or list: its key, and whether the key holds phone numbers.
        around: list[tuple[str, bool]] = []
        in_phone = is_phone
        # Every token has a kind, so the second condition is always true.
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
                    # Not JSON, just words in a row, such as "[1] [2]".
                    return None
                masked = source
                is_phone = self.is_phone(key, in_phone)
                if kind == "open":
                    around.append((key, in_phone))
                    in_phone = is_phone
                elif kind == "string":
                    # The runtime stores the beginning of an oversized value under this key.
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
                    # If this is a key, what it says about its value must survive more masking.
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
        """Whether this key's values are phone numbers; `around`: those of the outer key are."""
        key = without_stand_ins(key)
        return not phone_words.names_a_thing(key) if around else phone_words.names_a_phone(key)

    def string(self, source: str, key: str, *, is_phone: bool, cut_end: bool) -> str:
        """Mask a JSON string literal."""
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
        """Mask a JSON string's text, which may be JSON too: the runtime stores model calls so."""
        if looks_like_json(words):
            found = self.document(words, cut_end=cut_end, is_phone=is_phone)
            if found is not None:
                return found
        context = f"{key[-80:]}: " if key else ""
        return self.text(words, cut_end=cut_end, is_phone=is_phone, context=context)

    def number(self, source: str, key: str, *, is_phone: bool, is_cut: bool) -> str:
        """Mask a JSON number literal; a personal one becomes a string."""
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
