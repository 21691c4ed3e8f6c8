"""New and rising groups of errors, as the page Errors has them in its 24 hours."""

from audit.keys import digest, keys
from conversations.errors import groups, periods
from conversations.errors.groups import Errors, Group
from conversations.problems import kinds

from .rules import NEW, RISING, Reading, Rule

PURPOSE = "overview.notify"
PERIOD = "24h"
# Nobody waits for an answer.
SECONDS = 30


def read() -> list[tuple[Rule, Reading]]:
    shown = periods.named(PERIOD)
    newest = groups.errors(SECONDS, shown=shown, order="new")
    rising = groups.errors(SECONDS, shown=shown, order="rising")
    new = {subject(group): details(group) for group in newest.groups if group.is_new}
    return [
        # A group is new for a day. What is not found any more may have been hidden by newer ones.
        (NEW, Reading(shown.now, new, is_whole=False)),
        (RISING, rising_reading(rising, shown.now)),
    ]


def rising_reading(found: Errors, now) -> Reading:
    # A new group is told once, although it also rises.
    risen = {subject(each): details(each) for each in found.groups
             if each.is_rising and not each.is_new}  # fmt: skip
    # Over only if it has no more than the day before: it would come and go at the bound.
    unclear = {subject(each) for each in found.groups if each.more > 0 or each.before is None}
    # They are sorted by how much they rise: those left out rise less than the last one.
    has_all = not found.groups_left_out or found.groups[-1].more <= 0
    return Reading(now, risen, unclear=unclear, is_whole=has_all and not found.is_partial)


def subject(group: Group) -> str:
    """A fingerprint: an error's text is content, and whoever reads our tables could guess it."""
    words = kinds.named(group.kind).words
    text = group.words if words and words.any_who else group.message
    return digest(keys(PURPOSE)[0], f"{group.kind} {text}").hex()[:32]


def details(group: Group) -> dict:
    return {
        "kind": group.kind,
        "agents": [str(agent.pk) for agent in group.agents],
        "agents_left_out": group.agents_left_out,
        "number": group.number,
        "conversations": group.conversations,
        "before": group.before,
    }
