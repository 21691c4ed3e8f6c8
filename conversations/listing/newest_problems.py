"""The newest problem of each conversation in the list, in words."""

import uuid

from privacy import masking

from ..display.readable import shown
from ..models import Session
from ..problems import kinds
from ..problems.messages import LENGTH, WHO_LENGTH, marked, sentence
from .snippets import read

LENGTH_SHOWN = 160
# The sentence is looked for once, in what the newest problem of each conversation said.
FAILURES = """
    SELECT session_id, run_id = (
        SELECT id FROM runs WHERE session_id = failure.session_id
        ORDER BY created_at DESC, id DESC LIMIT 1
    ), kind, who, {sentence}
    FROM (SELECT session.id AS session_id, failure.*
          FROM (SELECT id FROM sessions WHERE id = ANY(%(ids)s)) AS session,
          LATERAL (SELECT * FROM ({each}) AS failures ORDER BY created_at DESC LIMIT 1) AS failure
          OFFSET 0) AS failure
"""
EACH_FAILURE = """
    (SELECT '{kind}' AS kind, left({who}, {who_length}) AS who, {said} AS said, run_id,
            created_at
     FROM {table} WHERE session_id = session.id AND ({condition}) ORDER BY created_at DESC LIMIT 1)
"""


def newest_problems(sessions: list[Session]) -> dict[uuid.UUID, str]:
    """{id: the newest problem in words} for the sessions that have one."""
    ids = [session.pk for session in sessions if session.problems]
    each = [
        EACH_FAILURE.format(
            kind=kind.name,
            who=kind.words.who_sql(),
            who_length=WHO_LENGTH,
            said=kind.words.said_sql(),
            table=kind.table,
            condition=kind.where,
        )
        for kind in kinds.with_words()
    ]
    if not ids or not each:
        return {}
    sql = FAILURES.format(sentence=sentence(marked("said")), each=" UNION ALL ".join(each))
    sql = sql.replace("%", "%%").replace("%%(ids)s", "%(ids)s")
    found = {}
    for session_id, of_last_run, name, who, words in read(sql, {"ids": ids}):
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
