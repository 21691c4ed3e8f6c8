"""
Notices when the workflow of an agent has changed. The runtime overwrites it in place, and moves the
agent's updated_at when it does.
"""

import uuid
from datetime import datetime
from hashlib import sha256
from itertools import islice
from typing import Any

from backoffice import json_text
from conversations.agentdb.step_names import NAME_LENGTH

from ..models import WorkflowSnapshot
from ..workflow.document import MOST_NODES, nodes_of, steps, text
from .changes import now
from .reading import read

# Characters of a workflow that are read, and how many workflows are read at once.
LENGTH = 1_000_000
BATCH = 10
# Of each agent. Two programs that overwrite each other's workflow make one at each pass.
MOST_SNAPSHOTS = 100
AGENTS = "SELECT id, updated_at FROM agents"
WORKFLOWS = """
    SELECT id, updated_at, encode(sha256(convert_to(workflow::text, 'UTF8')), 'hex'),
        left(workflow::text, %(length)s)
    FROM agents
    WHERE id = ANY(%(ids)s) AND workflow IS NOT NULL AND jsonb_typeof(workflow) <> 'null'
"""


def note_changes():
    """Needs a transaction in our own database."""
    newest = WorkflowSnapshot.unlimited.order_by("agent_id", "-id").distinct("agent_id")
    known = {snapshot.agent_id: snapshot for snapshot in newest.defer("nodes")}
    moment = now()
    moved = iter(
        [
            (pk, updated_at)
            for pk, updated_at in read(AGENTS)
            if pk not in known or has_moved(known[pk].updated_at, updated_at, moment)
        ]
    )
    while batch := dict(islice(moved, BATCH)):
        found = {pk: rest for pk, *rest in read(WORKFLOWS, ids=list(batch), length=LENGTH)}
        for pk, updated_at in batch.items():
            note(pk, known.get(pk), *found.get(pk, (updated_at, "", "")))


def has_moved(known: datetime, updated_at: datetime, moment: datetime) -> bool:
    """A replica that lags behind still says what was before. A wrong clock may be put right."""
    return updated_at > known or (known > moment and updated_at != known)


def note(pk: uuid.UUID, last: WorkflowSnapshot | None, updated_at, digest: str, document: str):
    if last and last.digest == digest:
        last.updated_at = updated_at
        last.save(update_fields=["updated_at"])
        return
    moment = now()
    is_likely = last and last.since < updated_at <= moment
    WorkflowSnapshot.unlimited.create(
        agent_id=pk,
        since=updated_at if is_likely else moment,
        updated_at=updated_at,
        digest=digest,
        nodes=outline(json_text.beginning(document)),
    )
    own = WorkflowSnapshot.unlimited.filter(agent_id=pk).order_by("-id")
    old = own.values_list("pk", flat=True)[MOST_SNAPSHOTS:]
    WorkflowSnapshot.unlimited.filter(pk__in=list(old)).delete()


def digest_of(node: dict) -> str:
    """Its keys and what they hold are in the order of jsonb, so equal ones have equal digests."""
    try:
        return sha256(repr(node).encode(errors="replace")).hexdigest()[:16]
    except RecursionError:
        # Nested thousands of levels deep: no workflow that runs.
        return ""


def outline(document: Any) -> list[list]:
    """The nodes as WorkflowSnapshot keeps them."""
    return [
        [
            name[:NAME_LENGTH],
            text(node.get("type"))[:NAME_LENGTH],
            digest_of(node),
            [target[:NAME_LENGTH] for target, _ in islice(steps(node), MOST_NODES)],
        ]
        for name, node in islice(nodes_of(document), MOST_NODES)
    ]
