"""The dialogues in scripts/*.txt, one file per agent.

A script begins with `=== language` and may set slots (`status=lost`). It is a list of turns. A turn
has `[user intent]`, tool calls as `[tool name key=value; key=value] result` (`[then ...]` starts
the agent's next step), and `[agent]`. Several `[user]` or `[agent]` blocks in a row are
alternatives. Braces are slots, which slots.py fills.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "scripts"
MARK = re.compile(r"^\[(user|tool|then|agent)\b ?([^\]]*)\] ?(.*)$")


@dataclass(frozen=True)
class ToolCall:
    name: str
    args: dict
    result: str


@dataclass
class Turn:
    intent: str = ""
    users: list[str] = field(default_factory=list)
    steps: list[list[ToolCall]] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)


@dataclass
class Script:
    language: str
    label: str = ""
    slots: dict = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)


@cache
def load(name):
    """The scripts in one file. Raises a ValueError if a turn has no question or no answer."""
    scripts = []
    for part in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").split("=== ")[1:]:
        header, _, body = part.partition("\n")
        scripts.append(_script(header, body))
    return scripts


def phrases(language, label):
    """The turn with this label and language in scripts/common.txt, or None."""
    for script in load("common"):
        if (script.language, script.label) == (language, label):
            return script.turns[0]
    return None


def _script(header, body):
    language, *words = header.split()
    script = Script(language)
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            script.slots[key] = value
        else:
            script.label = word

    lines = []
    last_kind = "agent"
    for line in body.splitlines():
        mark = MARK.match(line)
        if not mark:
            if lines:
                lines[-1].append(line)
            continue
        kind, detail, rest = mark.groups()
        if (kind == "user" and last_kind != "user") or not script.turns:
            script.turns.append(Turn(intent=detail))
        turn = script.turns[-1]
        if kind in ("tool", "then"):
            if kind == "then" or not turn.steps:
                turn.steps.append([])
            turn.steps[-1].append(_tool_call(detail, rest))
        else:
            lines.append([])
            (turn.users if kind == "user" else turn.replies).append(lines[-1])
        last_kind = kind

    for turn in script.turns:
        turn.users = ["\n".join(lines).strip() for lines in turn.users]
        turn.replies = ["\n".join(lines).strip() for lines in turn.replies]
        if not script.label and not (turn.users and turn.replies):
            raise ValueError(f"A turn without a question or an answer: {turn}")
    return script


def _tool_call(detail, result):
    name, _, pairs = detail.partition(" ")
    args = dict(pair.split("=", 1) for pair in pairs.split("; ") if pair)
    return ToolCall(name, args, result)
