"""JSON or any other text as words on one line."""

import json

from backoffice.json_text import tokens, whole_part


def one_line(words: str) -> str:
    # JSON may contain half a surrogate pair, or be cut within one. No page can encode that.
    return " ".join(words.split()).encode(errors="replace").decode()


def unquoted(source: str) -> str:
    kind, source = next(tokens(source))
    return whole_part(source) if kind == "cut" else json.loads(source)


def readable(source: str, *, cut: bool, bare: bool = False) -> str:
    """
    JSON as "key: value, key: value"; any other text unchanged.

    `bare` leaves out the key if the object holds just one string, or an answer that was cut.
    """
    if source[:1] not in ("{", "["):
        return source
    words = []
    position = depth = 0
    try:
        if not cut:
            json.loads(source)
        found = list(tokens(source))
        for kind, token in found:
            position = source.index(token, position) + len(token)
            if kind == "open":
                depth += 1
                words.append("(" if depth > 1 else "")
            elif kind == "close":
                words.append(")" if depth > 1 else "")
                depth -= 1
            elif kind == "separator":
                words.append(f"{token} ")
            elif kind in ("string", "cut"):
                words.append(
                    json.loads(token) if kind == "string" else whole_part(token) or token[1:]
                )
            else:
                words.append(token)
    except (ValueError, RecursionError):
        return source
    rest = source[position:].strip()
    if not any(word.startswith(rest) for word in ("true", "false", "null", "-")):
        # The text only begins like JSON, such as "[Note] …".
        return source
    if bare and words[2:3] == [": "] and found[3:] and found[3][0] in ("string", "cut"):
        alone = words[1] == "agent_response" and len(found) == 4 if cut else len(found) == 5
        if alone:
            return words[3]
    return "".join(words)
