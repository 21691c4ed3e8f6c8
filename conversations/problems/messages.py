"""
The error text of a problem, in SQL: the whole text, its sentence, and the sentence normalised.

An error may be a sentence, a JSON document that contains a sentence, a text that quotes such a
document, or a traceback. We treat a document as plain text, so that one set of regular expressions
finds the sentence in all of these, together with the statuses, codes and types to put in front.

Indexes are built on these expressions: whoever changes one needs a new index. The runtime's INSERTs
compute them, so nothing in them may fail, and regular expressions only see text of limited length.
PostgreSQL before 18 cannot store an expression of more than 8 kB in its catalogue, and a connection
caches 32 compiled regular expressions: we use 31.
"""

from dataclasses import dataclass

from django.db.models import TextField
from django.db.models.functions import Left

from privacy import masking

from ..agentdb.lookups import ErrorTextField
from ..agentdb.sql import Template, cut_text, with_columns
from .normalising import normalised

LENGTH = 300
WHO_LENGTH = 60
LABELS_LENGTH = 100
# Replaces the name in front of a message to mean "whatever failed". No name contains it.
ANY_WHO = "…"
# Replaces the message of runs whose reason is unknown. A message contains a colon.
NO_REASON = "no reason was recorded"
# What the runtime puts in front of a tool's error text.
TOOL_PREFIX = r"^Error:\s*(?:Error executing \w+ ''[^'']*'':\s*)?"

# How many characters are examined: of any text, and of a text that may be a document.
TEXT_LENGTH = 30_000
DOCUMENT_LENGTH = 4_000

# Signs that a text may be more than a sentence.
STRUCTURED = r"""\{|\[(?:null, )*["'']|TextContent\(|Traceback \(most|\n\s+at |shorter answer\."""
# A document inside a string of another document, and one nested that way twice.
QUOTED_DOCUMENT = r"""[{\[]\s*\\"|''[{\[]"""
TWICE_QUOTED = r'[{\[]\s*\\\\\\"'
# For a traceback, keep the line after its last frame; for others, the first lines. The runtime's
# own error about an answer that was cut off is kept without the answer.
TRACES = (
    r"^((?:[^\u0001]*\u0001)?).*Traceback \(most.*"
    r'\n[ |]*File "[^\n]*\n(?:[ \t|][^\n]*\n)*([^\s|][^\n]*).*$'
    r"|\n\s+at .*$|(shorter answer\.)\s*(?:\n|\\n).*$"
)
# The keys that hold the sentence, in any case, best first, as JSON or Python writes them.
SENTENCES = (
    r"""["''](?:err(?:or)?_?)?(?:message|msg)["'']\s*:""",
    r"""["''](?:detail|reason|(?:error_)?description)["'']\s*:""",
    r"""(?:["''](?:errors?|title|text|preview|exception|traceback|stack|details|messages|content)"""
    r"""["'']\s*:|\mtext=)""",
)
# Not the problem's sentence: the input of whatever failed, and details next to a message.
ASKED = "requests?|inputs?|params|parameters|arg(?:ument)?s|kwargs|headers|query"
NO_SENTENCES = (
    rf"""["''](?:{ASKED})["'']\s*:\s*\{{[^{{}}]*\}}"""
    rf"""|["''](?:details|errors)["'']\s*:\s*\[\{{[^\[\]]*\}}\](?=.*{SENTENCES[0]})"""
)
# A string in a document that quotes another document.
UP_TO_WORDS = (
    r"""\u0001((?:\d{3}: )?)[{\[].*?:\s*\[?"([A-Za-z](?:[^"\\{]|\\.)*\{\s*["''])"""
    r"""(?=.*(?:message|msg|detail|reason|error)["'']\s*:)"""
)
# A document from its beginning to the key, and then the sentence.
UP_TO = r'\u0001(.*?)["\[]*(?:\{|TextContent\().*?'
QUOTED = r"""(?:"((?:[^"\\]|\\.)+)(?:"|$)|''((?:[^''\\]|\\.)+)(?:''|$))"""
LIST = r"\u0001((?:\d{3}: )?)[\s\[]*\[(?:null, )*"

# Codes and types, in any case. A word, perhaps ending in a short number, is not an id; some words
# say nothing.
NO_TYPES = "error|text|fail|failed|failure|exception|object|none|null"
TYPE = rf"""(?!(?:{NO_TYPES})["''])[A-Z][A-Z_.-]*[0-9]{{0,5}}"""
LABEL = (
    r"""(?:["''](?:error|(?:error_?|status_?|http_?)?(?:code|status)"""
    r"""|(?:error_?|exc(?:eption)?_?|__)?type)["'']\s*:\s*"""
    rf"""(?:["'']({TYPE})["''](?=\s*(?:[,}}\]]|$))|["'']?([45]\d\d)["''\s,}}\]])"""
    r"""|["'']\w+["'']\s*:\s*["'']([\w.]+(?:Error|Exception))["''])(?=[^\u0001]*\u0001)"""
)
# Everything from the second error of a list on.
NEXT_ERROR = r"""\},\s*\{[^{}]*["''](?:message|msg|detail|reason)["'']\s*:[^\u0001]*\u0001"""
# The sentence that was found, else the document's strings without their quotes: later, quoted text
# is left out.
QUOTED_WORDS = (
    r"""^([^\u0004]*)\u0004+$|(\u0001|[{\[,:]\s*)["'']([^"''{}\[\]]*)["''](?=\s*[,:}\]]|\s*$)"""
)
# A character that JSON escapes, without its backslash.
CONTROL = "(?:[bfnrt]|u00[01][0-9a-f])"
STATUS_FIRST = r"^ ([^\d\u0001]*)(\u0002[45]\d\d )"
# A status in front of a text; a status given twice, there or among the labels; and a type.
STATUS = r"^ ?([^\u0001]*)\u0001([45]\d\d)(?:: |:?\s*$)"
STATUS_AGAIN = r"^[\s\u0002]*(\d{3})\M([^\u0001]*)\u0002\1\M ?"
STATUS_IN_FRONT = (
    r"^\s*\u0002(\d{3})\M([^\u0001]*\u0001)(?:Error code: )?\1\M(?:\s*[:.-]\s*|\s+(?=[A-Z])|\s*$)"
)
TYPE_IN_FRONT = r"\m([A-Za-z]\S*)\s*\u0001\1\M[\s:.,-]{0,3}"
# Between labels and sentence; before what must not be left out; after a sentence; sentence found.
MARK, STAYS, ENDS, FOUND = "chr(1)", "chr(2)", "chr(3)", "chr(4)"


def replaced(text: str, pattern: str, replacement: str, flags: str = "") -> str:
    flags = f", '{flags}'" if flags else ""
    return f"regexp_replace({text}, '{pattern}', '{replacement}'{flags})"


def unmarked(text: str, length: int) -> str:
    marks = f"{MARK} || {STAYS} || {ENDS} || {FOUND}"
    return f"translate(left({text}, {length}), {marks}, '    ')"


def unquoted(text: str) -> str:
    return replaced(text, r"""\\(["''/\\])""", r"\1", "g")


def taken_apart(said: str) -> str:
    """SQL that splits a structured text: its labels, MARK, its sentence."""
    start = f"left({said}, {2 * DOCUMENT_LENGTH})"
    text = (
        f"CASE WHEN {start} ~ '{TWICE_QUOTED}' THEN {unquoted(unquoted(start))}"
        f" WHEN {start} ~ '{QUOTED_DOCUMENT}' THEN {unquoted(start)}"
        f" ELSE left({said}, {TEXT_LENGTH}) END"
    )
    text = unmarked(replaced(text, TRACES, r"\2\3"), DOCUMENT_LENGTH)
    text = replaced(text, NO_SENTENCES, "", "g")
    # Labels are taken from the text before MARK, the sentence from the text after it.
    text = f"regexp_replace({text}, '^.*$', '\\&' || {MARK} || '\\&')"
    text = f"regexp_replace({text}, '{UP_TO_WORDS}', {MARK} || '\\1\\2')"
    for start in (*(rf"{UP_TO}{key}\s*\[?" for key in SENTENCES), LIST):
        found = f"{MARK} || '\\1\\2\\3' || {FOUND}"
        text = f"regexp_replace({text}, '{start}{QUOTED}.*$', {found}, 'i')"
    text = f"regexp_replace({text}, '{NEXT_ERROR}', '}}' || {MARK})"
    text = f"regexp_replace({text}, '{LABEL}', {STAYS} || '\\1\\2\\3' || {ENDS}, 'gi')"
    text = replaced(text, r"(?:^|\u0003)[^\u0001\u0002]*", " ", "g")
    text = replaced(text, rf"^([^\u0001]{{{LABELS_LENGTH}}})[^\u0001]*", r"\1")
    text = replaced(text, STATUS_FIRST, r"\2\1")
    text = replaced(text, QUOTED_WORDS, r"\1\2\3", "g")
    text = f"regexp_replace({text}, '(?<!\\\\)((?:\\\\\\\\)*)\\\\{CONTROL}', '\\1' || chr(10), 'g')"
    return replaced(unquoted(text), TRACES, r"\1\2\3")


def marked(said: str, length: int = LENGTH) -> str:
    """SQL for a text's labels, MARK and its sentence, with some extra length to cut later."""
    length += 2 * LABELS_LENGTH
    text = (
        f"CASE WHEN left({said}, {TEXT_LENGTH}) ~ '{STRUCTURED}' THEN {taken_apart(said)}"
        f" ELSE {MARK} || {unmarked(said, length)} END"
    )
    text = f"regexp_replace({text}, '{STATUS}', {STAYS} || '\\2 \\1' || {MARK})"
    for pattern in (STATUS_AGAIN, STATUS_IN_FRONT):
        text = f"regexp_replace({text}, '{pattern}', {STAYS} || '\\1\\2')"
    return f"left({text}, {length})"


def joined(marked: str) -> str:
    """SQL for "labels: sentence"."""
    text = f"translate({marked}, {STAYS}, '')"
    text = f"regexp_replace({text}, '{TYPE_IN_FRONT}', '\\1' || {MARK})"
    text = f"btrim({text}, ' ' || chr(10) || {MARK})"
    return replaced(text, r"^([^\u0001]*[^\s\u0001])\s*\u0001", r"\1: ")


def sentence(marked: str, length: int = LENGTH) -> str:
    """SQL for the sentence with its labels, cut to `length`; NULL if there is no error text."""
    return f"nullif(left({joined(marked)}, {length}), '')"


def message(marked: str) -> str:
    """SQL for the normalised sentence on one line, which is the same for equal problems."""
    words = f"left({joined(normalised(marked))}, {LENGTH})"
    words = replaced(words, r"\s+", " ", "g")
    return f"coalesce(btrim({words}), '')"


@dataclass(frozen=True)
class Words:
    """
    SQL for what failed and what its error text says, with {column} for a column. The methods ending
    in `_sql` fill in the columns, by default with their plain names.
    """

    columns: tuple[str, ...]
    who: str
    said: str
    # Whether the page Errors counts equal texts together, whatever failed.
    any_who: bool = False

    def who_sql(self, **columns: str) -> str:
        return with_columns(self.who, **columns)

    def name_sql(self, **columns: str) -> str:
        """What failed: cut, on one line, and without a colon, which would seem to end the name."""
        return with_columns(self.name, **columns)

    def said_sql(self, **columns: str) -> str:
        """The whole error text; empty or NULL if there is none."""
        return with_columns(self.said, **columns)

    def message_sql(self, **columns: str) -> str:
        return with_columns(message(marked(self.said)), **columns)

    @property
    def name(self) -> str:
        who = replaced(f"translate({self.who}, '{ANY_WHO}', '.')", r":?\s+", " ", "g")
        return f"coalesce(left({who}, {WHO_LENGTH}), '')"

    def as_said(self) -> Template:
        """The whole error text, for a queryset of these rows."""
        return Template(self.said, ErrorTextField())

    def as_sentence(self, length: int) -> Left:
        """The sentence, cut to `length`, with personal data masked."""
        return cut_text(Template(sentence(marked(self.said, length), length)), length)

    def as_message(self) -> Template:
        return Template(message(marked(self.said)), TextField())

    def as_name(self) -> Template:
        return Template(self.name, TextField())


def shown_message(message: str, is_cut: bool = True) -> str:
    """A message as this user may see it; `is_cut`: its text may be longer than LENGTH."""
    if not masking.is_active():
        return message
    who, colon, words = masking.raw(message).partition(": ")
    who = masking.mask(who, cut_end=len(who) >= WHO_LENGTH)
    return f"{who}{colon}{masking.mask(words, cut_end=is_cut)}"
