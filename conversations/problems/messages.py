"""
The words that come with a problem, in SQL: all of them, their sentence, and that normalised.

An error may be a sentence, a document with a sentence in it, a text that quotes such a document, or
a traceback. In front of the sentence stand the statuses, codes and types that are told beside it.

Indexes are built on these expressions: to change one means a new index. The runtime's INSERTs
compute them, so nothing in them can fail, and regular expressions see texts of bounded length.
"""

from dataclasses import dataclass, replace

from django.db.models.functions import Left

from privacy import masking

from ..agentdb.lookups import ErrorTextField
from ..agentdb.sql import Template, cut_text, with_columns
from .normalising import normalised

LENGTH = 300
WHO_LENGTH = 60
LABELS_LENGTH = 100
# What the runtime puts in front of a tool's words.
TOOL_PREFIX = r"^Error:\s*(?:Error executing \w+ ''[^'']*'':\s*)?"

# Documents

# The keys of the sentence of an error; of what else may be one; of its codes and types; and of the
# objects in which these lie.
SENTENCES = (
    *("msg", "detail", "reason", "message", "description", "error_message", "error_description"),
    *("Message", "errorMessage"),
)
OTHERS = (
    *("error", "errors", "title", "text", "preview", "exception", "traceback", "stack", "details"),
    *("messages", "content"),
)
LABELS = (
    *("code", "type", "status", "status_code", "error_code", "error_type"),
    *("Code", "statusCode", "errorCode", "errorType"),
)
WRAPPERS = (
    *("error", "errors", "detail", "details", "exception", "extensions", "response", "body"),
    *("data", "result", "cause", "fault", "message", "content", "output", "Error"),
)
# A word, perhaps with a short number at its end: no id. Some words say nothing.
A_TYPE = "[A-Za-z][A-Za-z_.-]*[0-9]{0,5}"
NO_TYPES = ("error", "text", "fail", "failed", "failure", "exception", "object", "none", "null")
SAYS_SOMETHING = " && ".join(f'@ != "{word}"' for word in NO_TYPES)
IS_LABEL = f'@ like_regex "^({A_TYPE}|[45][0-9][0-9])$" && {SAYS_SOMETHING} || @ >= 400 && @ < 600'
# "error" is a type where the sentence stands beside it.
ERROR_TYPE = (
    "? (exists (@.message) || exists (@.error_description) || exists (@.detail)"
    f" || exists (@.reason)).error ? ({IS_LABEL})"
)
OBJECT = '? (@.type() == "object")'
STRING = '[0] ? (@.type() == "string")'


def values(keys: tuple[str, ...]) -> str:
    """The end of a jsonpath: the values of an object's keys."""
    # With like_regex, PostgreSQL took five times as long to read it.
    is_one = " || ".join(f'@.key == "{key}"' for key in keys)
    return f".keyvalue() ? ({is_one}).value"


# Of lists, the first few errors. Named places cost little; to look everywhere in a megabyte (`**`)
# takes a second.
ROOT = f"$[0 to 2] {OBJECT}"
INNER = f"{ROOT}{values(WRAPPERS)}[0] {OBJECT}"
INNERMOST = f"{INNER}{values(WRAPPERS)}[0] {OBJECT}"
PLACES = (ROOT, INNER, INNERMOST)
SENTENCE_PATHS = (
    *(f"{place}{values(keys)}{STRING}" for place in PLACES for keys in (SENTENCES, OTHERS)),
    '$[0 to 2] ? (@.type() == "string")',
)
LABEL_PATHS = (
    *(f"{place}{values(LABELS)} ? ({IS_LABEL})" for place in PLACES),
    f"{ROOT} {ERROR_TYPE}",
)


def text_of(json: str) -> str:
    """SQL of the sentence inside an error that is JSON, else all of it."""
    whole = f"{json} #>> '{{}}'"
    found = ", ".join(
        f"jsonb_path_query_first({json}, '{path}', '{{}}', true) #>> '{{}}'"
        for path in SENTENCE_PATHS
    )
    return (
        f"CASE jsonb_typeof({json}) WHEN 'string' THEN {whole} ELSE coalesce({found}, {whole}) END"
    )


def labels_of(json: str) -> str:
    """SQL of the statuses, codes and types of an error that is JSON, each after STAYS."""
    found = " || ',' || ".join(
        f"jsonb_path_query_array({json}, '{path}', '{{}}', true)::text" for path in LABEL_PATHS
    )
    # ["a", 429]
    return f"translate({found}, '[\" ,]', repeat({STAYS}, 3) || ' ')"


# Texts

TEXT_LENGTH = 30_000
DOCUMENT_LENGTH = 4_000
# What may be more than a sentence.
STRUCTURED = r"""\{|\["|TextContent\(|Traceback \(most|\n\s+at |shorter answer\."""
# Of a traceback, the line after its last frame; of others, the first lines; of the runtime's own
# error for an answer that was cut off, not the answer.
LAST_LINE = r'^.*Traceback \(most.*\n[ |]*File "[^\n]*\n(?:[ \t|][^\n]*\n)*([^\s|][^\n]*).*$'
FIRST_LINES = r"\n\s+at .*$|(shorter answer\.)\n\n.*$"
# A document, as JSON or as Python writes it, from its beginning to the sentence in it, and the
# sentence.
UP_TO_SENTENCE = r"""(?:\[\{|\{|\[TextContent\().*?(?:["''](?:KEYS)["'']\s*:|\mtext=)\s*\[?"""
QUOTED = r"""(?:"((?:[^"\\]|\\.)*)(?:"|$)|''((?:[^''\\]|\\.)*)(?:''|$))"""
# One of its codes and types.
LABEL = (
    rf"""["''](?:{"|".join(LABELS)})["'']\s*:\s*"""
    rf"""(?:["'']({A_TYPE})["'']|["'']?([45]\d\d)["''\s,}}\]])"""
)
SAYS_NOTHING = rf"\u0002(?:{'|'.join(NO_TYPES)})\M"
# Of a document without a sentence, the quotes: quoted text would be left out.
QUOTED_WORD = r"""(^|[{\[,:]\s*)["'']([^"''{}\[\]]*)["''](?=\s*[,:}\]]|\s*$)"""
# A status or type that is told twice.
STATUS_AGAIN = r"^[\s\u0002]*(\d{3})\M([^\u0001]*)\u0002\1\M"
STATUS_IN_FRONT = (
    r"^\u0002(\d{3})\M([^\u0001]*\u0001)(?:Error code: )?\1\M(?:\s*[:.-]\s*|\s+(?=[A-Z])|\s*$)"
)
TYPE_IN_FRONT = r"\m([A-Za-z]\S*)\s*\u0001\1\M[\s:.,-]{0,3}"
# Between labels and sentence; in front of what is not to be left out.
MARK, STAYS = "chr(1)", "chr(2)"


def replaced(text: str, pattern: str, replacement: str, flags: str = "") -> str:
    return f"regexp_replace({text}, '{pattern}', '{replacement}', '{flags}')"


def taken_apart(text: str) -> str:
    """SQL of the labels in a structured text, MARK, and its sentence."""
    last_line = replaced(text, LAST_LINE, r"\1")
    text = replaced(f"left({last_line}, {DOCUMENT_LENGTH})", FIRST_LINES, r"\1")
    labels = f"regexp_replace({text}, '{LABEL}', {STAYS} || '\\1\\2' || chr(3), 'g')"
    labels = replaced(labels, r"(?:^|\u0003)[^\u0002]*", " ", "g")
    labels = replaced(labels, rf"\u0002(?:{'|'.join(NO_TYPES)})\M", "", "gi")
    for keys in (SENTENCES, OTHERS):
        text = replaced(
            text, UP_TO_SENTENCE.replace("KEYS", "|".join(keys)) + QUOTED + ".*$", r"\1\2"
        )
    text = replaced(text, QUOTED_WORD, r"\1\2", "g")
    text = replaced(text, r"\\[nrt]", " ", "g")
    text = replaced(text, r"""\\(["''/\\])""", r"\1", "g")
    return f"left({labels}, {LABELS_LENGTH}) || {MARK} || {text}"


def joined(marked: str) -> str:
    """SQL of "labels: sentence"."""
    text = f"translate({marked}, {STAYS}, '')"
    text = f"regexp_replace({text}, '{TYPE_IN_FRONT}', '\\1' || {MARK})"
    text = replaced(text, r"^\s*\u0001|\s*\u0001$", "")
    return replaced(text, r"^\s*([^\u0001]*[^\s\u0001])\s*\u0001", r"\1: ")


@dataclass(frozen=True)
class Words:
    """
    What failed and what it said, in SQL with {column} for one of the columns: `said` is a text,
    `labels` the words told beside it, `status` a number. The methods ending in `_sql` fill the
    columns in, by default with their bare names.
    """

    columns: tuple[str, ...]
    who: str
    said: str
    labels: str = ""
    status: str = ""

    def who_sql(self, **columns: str) -> str:
        return with_columns(self.who, **columns)

    def whole_sql(self, **columns: str) -> str:
        """All that was said; NULL if nothing was."""
        return with_columns(self.whole, **columns)

    def cut_sql(self, **columns: str) -> str:
        """The sentence, cut to LENGTH; NULL if nothing was said."""
        return with_columns(self.cut(LENGTH), **columns)

    def message_sql(self, **columns: str) -> str:
        """What failed and the normalised words: the same for problems that are the same."""
        return with_columns(self.message, **columns)

    def bound_sql(self, **columns: str) -> str:
        """A row with the text and its labels, so that expressions of `bound` compute them once."""
        said = with_columns(
            f"SELECT {self.said} AS said, {self.labels or 'NULL'} AS labels", **columns
        )
        return f"LATERAL ({said} OFFSET 0) AS told"

    @property
    def bound(self) -> "Words":
        return replace(self, said="told.said", labels=self.labels and "told.labels")

    @property
    def all_labels(self) -> str:
        """The words told beside the text, with an error's status in front."""
        found = []
        if self.status:
            is_error = f"{self.status} BETWEEN 400 AND 599"
            found.append(
                f"coalesce(CASE WHEN {is_error} THEN {STAYS} || {self.status}::text || ' ' END, '')"
            )
        if self.labels:
            found.append(f"coalesce({self.labels}, '')")
        return " || ".join(found)

    @property
    def whole(self) -> str:
        if not self.all_labels:
            return self.said
        labels = replaced(f"btrim(translate({self.all_labels}, {STAYS}, ''))", r"\s+", " ", "g")
        text = f"coalesce(nullif({labels}, '') || ': ', '') || coalesce({self.said}, '')"
        return f"nullif({text}, '')"

    @property
    def marked(self) -> str:
        """Labels, a mark and the sentence; NULL if nothing was said."""
        text = f"translate(left({self.said}, {TEXT_LENGTH}), {MARK} || {STAYS} || chr(3), ' ')"
        text = (
            f"CASE WHEN {text} ~ '{STRUCTURED}' THEN {taken_apart(text)} ELSE {MARK} || {text} END"
        )
        if not self.all_labels:
            return text
        text = f"left({self.all_labels}, {LABELS_LENGTH}) || coalesce({text}, {MARK})"
        for pattern in (STATUS_AGAIN, STATUS_IN_FRONT):
            text = f"regexp_replace({text}, '{pattern}', {STAYS} || '\\1\\2')"
        return text

    def cut(self, length: int) -> str:
        marked = f"left({self.marked}, {length + 2 * LABELS_LENGTH})"
        return f"nullif(left({joined(marked)}, {length}), '')"

    @property
    def message(self) -> str:
        marked = f"left({self.marked}, {LENGTH + 2 * LABELS_LENGTH})"
        words = f"left({joined(normalised(marked))}, {LENGTH})"
        who = f"left(coalesce({self.who}, ''), {WHO_LENGTH})"
        message = f"{who} || ': ' || coalesce({words}, '')"
        # On one line: a form would not preserve line breaks.
        return replaced(message, r"\s+", " ", "g")

    def as_whole(self) -> Template:
        """All that was said, for a queryset of these rows."""
        return Template(self.whole, ErrorTextField())

    def as_cut(self, length: int) -> Left:
        """The sentence, cut, with personal data masked."""
        return cut_text(Template(self.cut(length)), length)

    def as_message(self) -> Template:
        return Template(self.message)


def shown_message(message: str, is_cut: bool = True) -> str:
    """A normalised message as this user may see it; `is_cut`: its words may exceed LENGTH."""
    if not masking.is_active():
        return message
    who, colon, words = masking.raw(message).partition(": ")
    who = masking.mask(who, cut_end=len(who) >= WHO_LENGTH)
    return f"{who}{colon}{masking.mask(words, cut_end=is_cut)}"
