"""
The words that come with a problem, in SQL: as written, and normalised.

Normalising leaves out numbers, ids and quoted text, so that problems which differ in nothing else
have the same message. Indexes are built on these expressions: to change one means a new index.
"""

from dataclasses import dataclass

from privacy import masking

from ..agentdb.sql import Template, with_columns

LENGTH = 300
WHO_LENGTH = 60
# Quoted text, uuids, and words with digits, together with what joins them.
VARIES = (
    r'"[^"]*"'
    r"|(?<!\w)''[^'']*''(?!\w)"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|\w*\d\w*(?:[.,:/-]?\w*\d\w*)*"
)
# What the runtime puts in front of a tool's words.
TOOL_PREFIX = r"^Error:\s*(?:Error executing \w+ ''[^'']*'':\s*)?"

# The keys that providers and workflows use for the sentence inside an error; else all of it. The
# first error of a list stands for the others.
SENTENCE = """coalesce({json} #>> '{error,message}', {json} ->> 'message', {json} ->> 'error',
    {json} ->> 'detail', {json} ->> 'preview', {json} #>> '{}')"""
FIRST_ERROR = "(CASE jsonb_typeof({errors}) WHEN 'array' THEN {errors} -> 0 ELSE {errors} END)"


def sentence(json: str) -> str:
    """The sentence inside an error that is JSON."""
    return SENTENCE.replace("{json}", json)


@dataclass(frozen=True)
class Words:
    """
    What failed and what it said, in SQL with {column} for one of the columns. The methods ending
    in `_sql` fill these in, by default with their bare names.
    """

    columns: tuple[str, ...]
    who: str
    said: str

    def who_sql(self, **columns: str) -> str:
        return with_columns(self.who, **columns)

    def whole_sql(self, **columns: str) -> str:
        """All that was said; NULL if nothing was."""
        return with_columns(self.said, **columns)

    def cut_sql(self, **columns: str) -> str:
        return with_columns(self.cut, **columns)

    def message_sql(self, **columns: str) -> str:
        """What failed and the normalised words: the same for problems that are the same."""
        return with_columns(self.message, **columns)

    @property
    def cut(self) -> str:
        return f"left({self.said}, {LENGTH})"

    @property
    def message(self) -> str:
        normalised = f"regexp_replace({self.cut}, '{VARIES}', '…', 'g')"
        who = f"left(coalesce({self.who}, ''), {WHO_LENGTH})"
        message = f"{who} || ': ' || coalesce({normalised}, '')"
        # On one line: a form would not preserve line breaks.
        return rf"regexp_replace({message}, '\s+', ' ', 'g')"

    def as_whole(self) -> Template:
        """All that was said, for a queryset of these rows."""
        return Template(self.said)

    def as_message(self) -> Template:
        return Template(self.message)


def shown_message(message: str, is_cut: bool = True) -> str:
    """A normalised message as this user may see it; `is_cut`: its words exceed LENGTH."""
    if not masking.is_active():
        return message
    who, colon, words = masking.raw(message).partition(": ")
    who = masking.mask(who, cut_end=len(who) >= WHO_LENGTH)
    return f"{who}{colon}{masking.mask(words, cut_end=is_cut)}"
