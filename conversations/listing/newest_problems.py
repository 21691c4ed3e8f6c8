"""What went wrong last in each conversation of the list, in words."""

import uuid

from privacy import masking

from ..models import Session
from ..problems import kinds
from ..problems import messages as failures
from ..problems.kinds import WHO, message_kinds
from .snippets import read

TROUBLE_LENGTH = 160
FAILURES = """
    SELECT session.id, {run} = (
        SELECT id FROM runs WHERE session_id = session.id ORDER BY created_at DESC, id DESC LIMIT 1
    ), failure.* FROM unnest(%(ids)s::uuid[]) AS session (id),
    LATERAL (SELECT * FROM ({each}) AS failures ORDER BY created_at DESC LIMIT 1) AS failure
"""
EACH_FAILURE = """
    (SELECT '{kind}' AS kind, left({who}, {who_length}) AS who, {words} AS words, run_id, created_at
     FROM {table} WHERE session_id = session.id AND ({condition})
     ORDER BY created_at DESC LIMIT 1)
"""


def troubles(sessions: list[Session]) -> dict[uuid.UUID, str]:
    """{id: the newest failure in words} for those of the sessions that had one."""
    ids = [session.pk for session in sessions if session.problems]
    each = [
        EACH_FAILURE.format(
            kind=kind,
            who=failures.SOURCES[kind][1].strip("{}"),
            who_length=failures.WHO_LENGTH,
            words=failures.words_sql(kind),
            table=kinds.FAILING[kind][0],
            condition=kinds.FAILING[kind][1],
        ).replace("%", "%%")
        for kind in message_kinds()
    ]
    if not ids or not each:
        return {}
    sql = FAILURES.format(run="failure.run_id", each=" UNION ALL ".join(each))
    found = {}
    for session_id, of_last_run, kind, who, words, *_ in read(sql, {"ids": ids}):
        who = masking.cut(who, failures.WHO_LENGTH)
        words = masking.cut(words, failures.LENGTH)
        named = f"{WHO[kind]} {who}" if who else WHO[kind]
        found[session_id] = of_last_run, kind, named, words
    return {
        session.pk: trouble(session.status, *found[session.pk])
        for session in sessions
        if session.pk in found
    }


def trouble(status, of_last_run, kind, named, words) -> str:
    """run failed: provider said 500; tool restart_device: device offline"""
    failed = status == "failed" and of_last_run
    # That a run failed is told best by what its model call said.
    parts = ["run failed" if failed else "", "" if failed and kind == "model_error" else named]
    text = ": ".join(part for part in (*parts, " ".join((words or "").split())) if part)
    return text if len(text) <= TROUBLE_LENGTH else f"{text[:TROUBLE_LENGTH]}…"
