"""
JSON text of any size and depth, read without recursion.

PostgreSQL stores nesting too deep for Python's parser and any recursive template. The text is
PostgreSQL's output of a jsonb column, which is well-formed but may be cut short, or the output of
Python's json.dumps(), which writes NaN and Infinity.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

TOKEN = re.compile(
    r"""\s*(?:
        (?P<open>[{\[])
      | (?P<close>[}\]])
      | (?P<separator>[:,])
      | (?P<string>"(?:[^"\\]++|\\.)*+")
      | (?P<literal>true|false|null|NaN|-?Infinity)
      | (?P<number>-?\d[\d.eE+-]*)
    )""",
    re.VERBOSE,
)
# Where a document begins within a text, unless it is a list of numbers.
BEGINS = re.compile(r'[{\[]\s*["{\[]')
CONSTANTS = {
    **{"true": True, "false": False, "null": None},
    **{name: float(name) for name in ("NaN", "Infinity", "-Infinity")},
}


def tokens(text: str) -> Iterator[tuple[str, str]]:
    """(kind, source text) pairs; a string that is cut off by the end of the text is a "cut"."""
    position = 0
    while match := TOKEN.match(text, position):
        yield match.lastgroup, match[match.lastgroup]
        position = match.end()
    rest = text[position:].lstrip()
    if rest.startswith('"'):
        yield "cut", rest


def within(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each JSON document within a text, except lists of numbers."""
    place = 0
    while found := BEGINS.search(text, place):
        start, depth = found.start(), 0
        place = start
        while token := TOKEN.match(text, place):
            place = token.end()
            depth += {"open": 1, "close": -1}.get(token.lastgroup or "", 0)
            if not depth:
                break
        # If it is not JSON, search on from where reading stopped: no character is read twice.
        if not depth:
            yield start, place
        place = max(place, start + 1)


def decoded(source: str) -> str:
    """
    The text of a JSON string literal. JSON inside a JSON string may hold half a surrogate pair,
    which a response cannot encode.
    """
    return json.loads(source).encode("utf-8", "replace").decode()


def whole_part(source: str) -> str:
    """The text of a string literal that was cut short, perhaps within an escape."""
    for lost in range(7):
        try:
            return decoded(source[: len(source) - lost] + '"')
        except ValueError:
            continue
    return ""


def is_beginning(text: str) -> bool:
    """Whether the text consists of JSON tokens, the last of which may be cut short."""
    position = 0
    while match := TOKEN.match(text, position):
        position = match.end()
    rest = text[position:].strip()
    return rest.startswith('"') or any(word.startswith(rest) for word in (*CONSTANTS, "-"))


def is_json(text: str, *, is_cut: bool = False) -> bool:
    """Whether a text that somebody wrote is JSON, or if it is cut, the beginning of JSON."""
    if is_cut:
        return is_beginning(text)
    try:
        # Numbers stay text: they may have more digits than Python converts.
        json.loads(text, parse_int=str, parse_float=str)
    except RecursionError:
        return is_beginning(text)
    except ValueError:
        return False
    return True


def beginning(text: str):
    """The value of a JSON text that may be cut short; None if it is not JSON."""
    try:
        return json.loads(text)
    except (RecursionError, ValueError):
        pass
    try:
        return _loads(text) if is_beginning(text) else None
    except (LookupError, TypeError, ValueError):
        return None


def loads(text: str):
    """`json.loads` for jsonb, at any depth."""
    try:
        return json.loads(text)
    except (RecursionError, ValueError):
        # Too deep, or a number beyond the interpreter's digit limit.
        return _loads(text)


def _number(source: str):
    try:
        return json.loads(source)
    except ValueError:
        return source


def _loads(text: str):
    root: list = []
    stack: list = [root]
    keys: list = [None]
    expects_key = False
    for kind, source in tokens(text):
        if kind == "separator":
            expects_key = source == "," and isinstance(stack[-1], dict)
            continue
        if kind == "close":
            stack.pop()
            keys.pop()
            continue
        if kind == "open":
            value = {} if source == "{" else []
        elif kind == "string":
            value = json.loads(source)
        elif kind == "cut":
            if expects_key:
                break
            value = whole_part(source)
        elif kind == "number":
            value = _number(source)
        else:
            value = CONSTANTS[source]
        holder = stack[-1]
        if isinstance(holder, list):
            holder.append(value)
        elif expects_key:
            keys[-1] = value
            expects_key = False
            continue
        else:
            holder[keys[-1]] = value
        if kind == "open":
            stack.append(value)
            keys.append(None)
            expects_key = source == "{"
    return root[0]


@dataclass(slots=True)
class Node:
    """
    One line of a tree. kind: "open" and "close" bracket an object or list, "string", "number"
    and "literal" are values, "deeper" stands for what lies below the depth shown.
    """

    kind: str
    key: str | None = None
    value: str = ""
    size: int = 0
    opened: bool = False
    cut: bool = False


@dataclass(slots=True)
class Tree:
    nodes: list[Node]
    # False when something was left out: too many nodes, too deep or too long.
    whole: bool


def tree(
    text: str,
    *,
    max_nodes: int = 500,
    max_depth: int = 50,
    max_string: int = 4000,
    opened: int = 2,
) -> Tree:
    """
    The nodes of a JSON text in document order, for a template to loop over. Nodes on the first
    `opened` levels start open.

    Reads no further than what is shown. `size` is the number of entries of an object or list that
    was read to its end.
    """
    nodes: list[Node] = []
    open_nodes: list[Node] = []
    whole = True
    shown = 0
    hidden_depth = 0
    key = None
    expects_key = False
    ended = False

    for kind, source in tokens(text):
        if hidden_depth:
            hidden_depth += {"open": 1, "close": -1}.get(kind, 0)
            if not hidden_depth:
                expects_key = False
            continue
        if kind == "separator":
            expects_key = source == "," and open_nodes[-1].value == "{"
            continue
        if kind == "close":
            nodes.append(Node("close", value=open_nodes.pop().value))
            ended = not open_nodes
            continue
        if kind == "string" and expects_key:
            key = decoded(source)[:max_string]
            expects_key = False
            continue
        if shown >= max_nodes:
            whole = False
            break
        shown += 1
        if open_nodes:
            open_nodes[-1].size += 1
        node = Node(kind, key=key)
        key = None
        if kind == "open":
            if len(open_nodes) >= max_depth:
                node.kind = "deeper"
                whole = False
                hidden_depth = 1
            else:
                node.value = source
                node.opened = len(open_nodes) < opened
                open_nodes.append(node)
                expects_key = source == "{"
        else:
            if kind == "cut":
                node.kind, value = "string", whole_part(source)
            else:
                value = decoded(source) if kind == "string" else source
                node.size = len(value)
            node.value = value[:max_string]
            node.cut = kind == "cut" or len(value) > max_string
            whole = whole and not node.cut
        nodes.append(node)
        ended = ended or not open_nodes
    # The text was cut or a limit reached: close what is open so that the markup is complete.
    for node in reversed(open_nodes):
        node.size = 0
        nodes.append(Node("close", value=node.value))
    return Tree(nodes, whole and ended)
