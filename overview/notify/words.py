"""
The text of a message: names of agents, kinds of problems, numbers and links, and never what was
said in a conversation or an error.
"""

import unicodedata
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.urls import reverse

from backoffice.words import counted, exact
from conversations.problems import kinds
from conversations.selection.forms import query_string

from .. import links
from ..models import Episode, State
from ..periods import Span
from .errors import PERIOD
from .rules import LATE, NEW, RATE, RISING, SILENT, UNREADABLE, Rule

# More than so many lines of one kind become one line.
LINES = 10
LONGEST_NAME = 80

# {id: an agent's name}
Names = dict[uuid.UUID, str]


@dataclass(frozen=True)
class Section:
    rule: Rule
    # (of one, of several), for the subject of the message.
    nouns: tuple[str, str]
    title: str
    line: Callable[[dict, str, Names], str]
    # What the line about a recovery says, if there is one.
    recovered: Callable[[dict, str, Names], str] = lambda details, subject, names: ""
    # Where the rest is, if not all lines are shown.
    rest: Callable[[], str] = lambda: site_link(reverse("agents"))


def message(episodes: list[Episode], names: Names) -> tuple[str, str]:
    """(subject, text)"""
    told = [each for each in episodes if each.state == State.DUE]
    over = [each for each in episodes if each.state == State.RECOVERED]
    summary, parts = [], []
    for section in SECTIONS:
        found = [each for each in told if each.rule == section.rule.name]
        if found:
            summary.append(numbered(len(found), section.nouns))
            lines = [section.line(each.details, each.subject, names) for each in found]
            parts.append(part(section.title, lines, section.rest()))
    if over:
        summary.append(f"{len(over)} back to normal")
        lines = [recovery(each, names) for each in over]
        parts.append(part("Back to normal", lines, site_link(reverse("agents"))))
    return f"Conversation Desk: {', '.join(summary)}", "\n\n".join(parts) + "\n"


def part(title: str, lines: list[str], rest: str) -> str:
    shown = lines[:LINES]
    if len(lines) > LINES:
        shown.append(f"and {len(lines) - LINES} more\n  {rest}")
    return "\n".join([title, *(f"- {line}" for line in shown)])


def recovery(episode: Episode, names: Names) -> str:
    [section] = (each for each in SECTIONS if each.rule.name == episode.rule)
    return section.recovered(episode.details, episode.subject, names)


def numbered(number: int, nouns: tuple[str, str]) -> str:
    return f"{number} {nouns[number != 1]}"


# Names and links


def plain_name(name: str) -> str:
    """A name in one line, without characters that hide or reorder text."""
    shown = "".join(" " if each.isspace() else each for each in name)
    shown = "".join(each for each in shown if unicodedata.category(each)[0] != "C")
    shown = " ".join(shown.split())
    return f"{shown[:LONGEST_NAME]}…" if len(shown) > LONGEST_NAME else shown


def agent_name(agent: str, names: Names) -> str:
    return plain_name(names.get(uuid.UUID(agent), "")) or f"agent {agent[:8]}"


def site_link(path: str) -> str:
    return f"{settings.SITE_URL}{path}"


def errors_link(**filters: str) -> str:
    query = query_string(filters | {"period": PERIOD})
    return site_link(f"{reverse('conversations:errors')}?{query}")


def moment(text: str) -> str:
    return exact(datetime.fromisoformat(text))


# Lines


def where(details: dict, names: Names) -> str:
    agents = [agent_name(agent, names) for agent in details["agents"]]
    if details["agents_left_out"]:
        agents.append(counted(details["agents_left_out"], "other agent"))
    *first, last = agents or ["agents that are gone"]
    return f"{', '.join(first)} and {last}" if first else last


def group_link(details: dict, sort: str) -> str:
    agents = details["agents"]
    filters = {"agent": agents[0]} if len(agents) == 1 and not details["agents_left_out"] else {}
    return errors_link(kind=details["kind"], sort=sort, **filters)


def new_error(details: dict, subject: str, names: Names) -> str:
    times = counted(details["number"], "time")
    conversations = counted(details["conversations"], "conversation")
    return (
        f"{kinds.named(details['kind']).label}, {where(details, names)}: "
        f"{times} in {conversations}\n  {group_link(details, 'new')}"
    )


def rising_error(details: dict, subject: str, names: Names) -> str:
    return (
        f"{kinds.named(details['kind']).label}, {where(details, names)}: "
        f"{counted(details['number'], 'time')} in 24 hours, {details['before']:,} in the 24 before"
        f"\n  {group_link(details, 'rising')}"
    )


def rate_words(details: dict) -> str:
    percent = 100 * details["troubled"] / details["conversations"]
    return (
        f"{percent:.0f}% ({details['troubled']:,} of "
        f"{counted(details['conversations'], 'conversation')})"
    )


def problem_rate(details: dict, subject: str, names: Names) -> str:
    span = Span(*(datetime.fromisoformat(details[end]) for end in ("since", "until")))
    path = links.conversations(span, links.PROBLEM, problem="any", agent=subject)
    return (
        f"{agent_name(subject, names)}: {rate_words(details)} had a problem from "
        f"{moment(details['since'])} to {moment(details['until'])}; "
        f"the threshold is {details['threshold']}%\n  {site_link(path)}"
    )


def normal_rate(details: dict, subject: str, names: Names) -> str:
    return (
        f"{agent_name(subject, names)}: {rate_words(details)} had a problem until "
        f"{moment(details['until'])}\n  {agent_link(subject)}"
    )


def agent_link(subject: str) -> str:
    return site_link(reverse("agent", args=[subject]))


def silent(details: dict, subject: str, names: Names) -> str:
    return (
        f"{agent_name(subject, names)}: nothing has happened since {moment(details['last'])}, "
        f"although it is usually active at this time of the week\n  {agent_link(subject)}"
    )


def active_again(details: dict, subject: str, names: Names) -> str:
    return f"{agent_name(subject, names)} is active again\n  {agent_link(subject)}"


def late(details: dict, subject: str, names: Names) -> str:
    return (
        f"The figures hold only what happened until {moment(details['as_of'])}. Problem rates and "
        f"silent agents are not told until “manage.py rollup” has caught up.\n  "
        f"{site_link(reverse('home'))}"
    )


def unreadable(details: dict, subject: str, names: Names) -> str:
    return (
        "The databases did not answer, or not in time: some of what is usually told may be missing."
        f"\n  {site_link(reverse('home'))}"
    )


def errors_rest(sort: str) -> Callable[[], str]:
    return lambda: errors_link(sort=sort)


SECTIONS: Iterable[Section] = (
    Section(
        LATE,
        ("figures are late", "figures are late"),
        "Figures are late",
        late,
        lambda *about: "The figures are up to date again",
    ),
    Section(
        UNREADABLE,
        ("reading failed", "readings failed"),
        "Not everything could be read",
        unreadable,
        lambda *about: "Everything can be read again",
    ),
    Section(NEW, ("new error", "new errors"), "New errors", new_error, rest=errors_rest("new")),
    Section(
        RISING,
        ("rising error", "rising errors"),
        "Rising errors",
        rising_error,
        rest=errors_rest("rising"),
    ),
    Section(
        RATE,
        ("agent with many problems", "agents with many problems"),
        "Agents with many problems",
        problem_rate,
        normal_rate,
    ),
    Section(SILENT, ("silent agent", "silent agents"), "Silent agents", silent, active_again),
)
