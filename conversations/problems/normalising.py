"""
What two problems that are the same may differ in, as a regular expression of PostgreSQL's: numbers,
ids and quoted text, but neither HTTP statuses nor types of errors.

Single quotes are doubled: these stand in SQL strings.
"""

# An HTTP status is a 4xx or 5xx that follows one of these words, or that is first in a text, unless
# it counts something: "500 items failed".
STATUS = r"[45]\d\d(?!\w|[.,/-]\w*\d)"
WORD = "[Hh]ttp|HTTP|[Ss]tatus|STATUS|[Cc]ode|CODE|[Ee]rror|ERROR"
AFTER_WORD = (
    rf"(?:(?:^|[^A-Za-z])(?:{WORD}|statuscode|errorcode)|HTTP|Status|Code|Error)"
    r"(?:/\d(?:\.\d)?)?(?: is| was| of| response)?[\s:=(''\[#_-]{0,4}"
)
REASONS = (
    "bad (?:request|gateway)|unauthori[sz]ed|payment required|forbidden|(?:page )?not|method not|"
    "proxy auth|request (?:timeout|timed|time-out|entity|header|too)|conflict|gone|length required|"
    "precondition|payload too|content too|ur[il] too|unsupported|range not|expectation|"
    "misdirected|unprocessable|locked|failed dependency|too (?:many|early|large)|upgrade required|"
    "rate.limit|unavailable|internal|gateway time|service (?:unavailable|temporarily)|insufficient|"
    "loop detected|network auth|(?:server|client|upstream|origin) (?:error|timeout|timed)|error|"
    "overloaded|timeout|timed out|access denied|no such|invalid|web server|status"
)
COUNTS_NOTHING = (
    r"(?=\.?\s*$|\.?\s*[:;()\[\]{}<|]|\s+[–—-]\s|[.,]\s|"
    r"\s+(?!(?:[KMGT]i?B|EUR|USD|GBP)\M)[A-Z]|"
    rf"\s+(?:{REASONS})\M)"
)
# Without the quotes around it.
AFTER_A_WORD = rf"""({AFTER_WORD})(?:"({STATUS}[^"]*)"|(?={STATUS}))"""
IN_FRONT = r"^((?:[^\u0001]*\u0001)?[\s(\[<{]{0,4})"
TYPE = r"\w*\d[\w.]*(?:Error|Exception|Warning)\M"
# Quoted text, uuids, and words with digits, together with what joins them. What begins with \u0002
# stays.
VARIES = (
    r'"[^"]*"'
    r"|(?<!\w)''[^''\u0002]*''(?!\w)"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|(?<![\w\u0002])\w*\d\w*(?:[.,:/-]?\w*\d\w*)*"
)


def normalised(marked: str) -> str:
    """
    SQL of a text without what varies. \u0001 ends the words in front of the text itself.

    What stays is marked first, and the texts with a status or a type are few: to look behind each
    word for what is in front of it, in one expression, took twenty times as long.
    """
    text = f"regexp_replace({marked}, '{AFTER_A_WORD}', '\\1' || chr(2) || '\\2', 'g')"
    text = f"regexp_replace({text}, '{IN_FRONT}(?={STATUS}{COUNTS_NOTHING})', '\\1' || chr(2))"
    text = f"regexp_replace({text}, '({TYPE})', chr(2) || '\\1', 'g')"
    return f"regexp_replace({text}, '{VARIES}', '…', 'g')"
