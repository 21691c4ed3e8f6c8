"""The newest problem of each conversation in the list, in words."""

import uuid

from privacy import masking

from ..display.readable import shown
from ..models import Session
from ..problems import kinds
from ..problems.messages import LENGTH, WHO_LENGTH
from .snippets import read

LENGTH_SHOWN = 160
FAILURES = """
    SELECT session.id, {run} = (
        SELECT id FROM runs WHERE session_id = session.id ORDER BY created_at DESC, id DESC LIMIT 1
    ), failure.* FROM (SELECT id FROM sessions WHERE id = ANY(%(ids)s)) AS session,
    LATERAL (SELECT * FROM ({each}) AS failures ORDER BY created_at DESC LIMIT 1) AS failure
"""
EACH_FAILURE = """
    (SELECT '{kind}' AS kind, left({who}, {who_length}) AS who, {words} AS words, run_id, created_at
     FROM (SELECT * FROM {table} WHERE session_id = session.id AND ({condition})
           ORDER BY created_at DESC LIMIT 1) AS failure, {told})
"""


def newest_problems(sessions: list[Session]) -> dict[uuid.UUID, str]:
    """{id: the newest problem in words} for the sessions that have one."""
    ids = [session.pk for session in sessions if session.problems]
    each = [
        EACH_FAILURE.format(
            kind=kind.name,
            who=kind.words.who_sql(),
            who_length=WHO_LENGTH,
            words=kind.words.bound.cut_sql(),
            told=kind.words.bound_sql(),
            table=kind.table,
            condition=kind.where,
        ).replace("%", "%%")
        for kind in kinds.with_words()
    ]
    if not ids or not each:
        return {}
    sql = FAILURES.format(run="failure.run_id", each=" UNION ALL ".join(each))
    found = {}
    for session_id, of_last_run, name, who, words, *_ in read(sql, {"ids": ids}):
        kind = kinds.named(name)
        who = masking.cut(who, WHO_LENGTH)
        words = shown(words, LENGTH)
        named = f"{kind.noun} {who}" if who else kind.noun
        found[session_id] = of_last_run, kind, named, words
    return {
        session.pk: newest_problem(session.status, *found[session.pk])
        for session in sessions
        if session.pk in found
    }


def newest_problem(status, of_last_run, kind, named, words) -> str:
    """run failed: provider said 500; tool restart_device: device offline"""
    failed = status == kinds.FAILED.name and of_last_run
    # What its model call said explains a failed run best.
    parts = [
        kinds.FAILED.one if failed else "",
        "" if failed and kind.model == "ModelCall" else named,
    ]
    text = ": ".join(part for part in (*parts, " ".join((words or "").split())) if part)
    return text if len(text) <= LENGTH_SHOWN else f"{text[:LENGTH_SHOWN]}…"
