"""Problems by agent."""

import uuid
from dataclasses import dataclass

from conversations.models import Agent
from conversations.problems import kinds
from conversations.selection.agents import labels

from .. import figures, links
from ..periods import Span
from ..tiles import Number

SHOWN = 10


@dataclass(frozen=True)
class AgentRow:
    id: uuid.UUID
    label: str
    conversations: Number
    troubled: Number
    # (kind, number) of those that it has.
    kinds: list[tuple[str, Number]]


def problems_by_agent(span: Span) -> list[AgentRow]:
    """Those with the most conversations that have a problem come first."""
    found = figures.by_agent(span)
    # Names are read from the agent database, which masks them; an agent that is gone has none.
    names = labels(list(Agent.objects.filter(pk__in=found).values_list("pk", "name")))
    ranked = sorted(
        ((pk, each) for pk, each in found.items() if pk in names),
        key=lambda item: (-item[1].troubled, -item[1].conversations, names[item[0]], item[0]),
    )
    rows = []
    for pk, each in ranked:
        agent = {"agent": str(pk)}

        def with_problem(kind: str, number: int, agent=agent) -> Number:
            link = links.conversations(span, links.PROBLEM, problem=kind, **agent)
            return Number(f"{number:,}", link, number)

        rows.append(
            AgentRow(
                id=pk,
                label=names[pk],
                conversations=Number(
                    f"{each.conversations:,}",
                    links.conversations(span, **agent),
                    each.conversations,
                ),
                troubled=with_problem("any", each.troubled),
                kinds=[
                    (kind.label, with_problem(kind.name, each.by_kind[kind.name]))
                    for kind in kinds.problems()
                    if each.by_kind[kind.name]
                ],
            )
        )
    return rows
