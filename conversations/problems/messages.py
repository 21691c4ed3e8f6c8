"""
The words that came with a failure, in SQL: as they were written, and folded.

Folded, numbers, ids and what stands in quotes are left out, so that failures which differ in
nothing else are the same. Indexes are built on these expressions: a changed one is another index.
"""

import re

from django.db.models import F, Func, TextField

from privacy import masking

KINDS = ("tool_error", "model_error", "task_error")
LENGTH = 300
WHO_LENGTH = 60
# Quoted text, uuids, and words with a digit in them together with what joins them.
VARIES = (
    r'"[^"]*"'
    r"|(?<!\w)''[^'']*''(?!\w)"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|\w*\d\w*(?:[.,:/-]?\w*\d\w*)*"
)
# The runtime's own words in front of a tool's.
TOOL_PREFIX = r"^Error:\s*(?:Error executing \w+ ''[^'']*'':\s*)?"

# What providers and workflows call the sentence inside an error; else all of it. The first error
# of a list stands for the others.
SENTENCE = """coalesce({json} #>> '{error,message}', {json} ->> 'message', {json} ->> 'error',
    {json} ->> 'detail', {json} ->> 'preview', {json} #>> '{}')"""
FIRST_ERROR = "(CASE jsonb_typeof({errors}) WHEN 'array' THEN {errors} -> 0 ELSE {errors} END)"

# {kind: (columns, who failed, its words)}
SOURCES = {
    "task_error": (("name", "errors"), "{name}", SENTENCE.replace("{json}", FIRST_ERROR)),
    "tool_error": (
        ("name", "output"),
        "{name}",
        f"regexp_replace({{output}} ->> 'result', '{TOOL_PREFIX}', '')",
    ),
    "model_error": (
        ("model", "response_data"),
        "{model}",
        SENTENCE.replace("{json}", "{response_data}"),
    ),
}


def with_columns(template: str, **columns: str) -> str:
    """The template with its {column}s filled in, by default with their bare names."""
    return re.sub(r"\{([a-z_]+)\}", lambda found: columns.get(found[1], found[1]), template)


def whole_words_sql(kind: str, **columns: str) -> str:
    """What a failure said; NULL where it said nothing."""
    return with_columns(SOURCES[kind][2], **columns)


def words_sql(kind: str, **columns: str) -> str:
    return f"left({whole_words_sql(kind, **columns)}, {LENGTH})"


def message_sql(kind: str, **columns: str) -> str:
    """Who failed and the folded words: the same for failures that are the same."""
    who = with_columns(SOURCES[kind][1], **columns)
    folded = f"regexp_replace({words_sql(kind, **columns)}, '{VARIES}', '…', 'g')"
    message = f"left(coalesce({who}, ''), {WHO_LENGTH}) || ': ' || coalesce({folded}, '')"
    # On one line: a form would not give line breaks back as they were.
    return rf"regexp_replace({message}, '\s+', ' ', 'g')"


def shown_message(message: str, is_cut: bool = True) -> str:
    """A folded message as whoever asks may see it; `is_cut`: of words longer than LENGTH."""
    if not masking.is_active():
        return message
    who, colon, words = masking.raw(message).partition(": ")
    who = masking.mask(who, cut_end=len(who) >= WHO_LENGTH)
    return f"{who}{colon}{masking.mask(words, cut_end=is_cut)}"


class FailureText(Func):
    """One of these expressions for a queryset of the kind's rows."""

    output_field = TextField()

    def __init__(self, kind: str, source):
        self.kind, self.source = kind, source
        super().__init__(*map(F, SOURCES[kind][0]))

    def as_sql(self, compiler, connection):
        compiled = [compiler.compile(each)[0] for each in self.get_source_expressions()]
        columns = dict(zip(SOURCES[self.kind][0], compiled, strict=True))
        # The driver takes a percent sign for a place.
        return self.source(self.kind, **columns).replace("%", "%%"), []


def whole_words(kind: str) -> FailureText:
    return FailureText(kind, whole_words_sql)


def failure_words(kind: str) -> FailureText:
    return FailureText(kind, words_sql)


def failure_message(kind: str) -> FailureText:
    return FailureText(kind, message_sql)
