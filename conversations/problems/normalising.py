"""
What may differ between two equal problems, as a PostgreSQL regular expression: numbers, ids and
quoted text, but neither HTTP statuses nor error types.

Single quotes are doubled because these stand inside SQL strings.
"""

# A 4xx or 5xx is an HTTP status if it follows one of these words, or if the text begins with it and
# it is not an amount, as in "500 items failed".
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
# Drops the quotes around it.
AFTER_A_WORD = rf"""({AFTER_WORD})(?:"({STATUS}[^"]*)"|(?={STATUS}))"""
IN_FRONT = r"^((?:[^\u0001]*\u0001)?[\s(\[<{]{0,4})"
TYPE = r"\w*\d[\w.]*(?:Error|Exception|Warning)\M"
# Quoted text, UUIDs, and words with digits together with the characters that join them. \u0002 in
# front protects a word.
VARIES = (
    r'"[^"]*"'
    r"|(?<!\w)''[^''\u0002]*''(?!\w)"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|(?<![\w\u0002])\w*\d\w*(?:[.,:/-]?\w*\d\w*)*"
)


def normalised(marked: str) -> str:
    """
    SQL for a text without its varying parts. \u0001 separates labels from the text itself.

    What must stay is marked first, because few texts have a status or a type. Looking back from
    each word for what precedes it, in a single expression, took twenty times as long.
    """
    text = f"regexp_replace({marked}, '{AFTER_A_WORD}', '\\1' || chr(2) || '\\2', 'g')"
    text = f"regexp_replace({text}, '{IN_FRONT}(?={STATUS}{COUNTS_NOTHING})', '\\1' || chr(2))"
    text = f"regexp_replace({text}, '({TYPE})', chr(2) || '\\1', 'g')"
    return f"regexp_replace({text}, '{VARIES}', '…', 'g')"
