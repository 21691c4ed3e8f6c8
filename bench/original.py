"""
The list as the original system reads it: group every table, join, then take a page.

This was written from the description of its `get_sessions_summary`, as somebody who knows SQL would
write it.
"""

# The best conditions for the original: all processors and plenty of memory for grouping. It has no
# trigram index; that index needs a bitmap scan, so those are switched off.
SETTINGS = {
    "max_parallel_workers_per_gather": 2,
    "work_mem": "512MB",
    "enable_bitmapscan": "off",
}

FAILED = """
    CASE jsonb_typeof(errors) WHEN 'array' THEN jsonb_array_length(errors) > 0
                              WHEN 'null' THEN false
                              ELSE errors IS NOT NULL END
"""
SESSIONS = f"""
    SELECT s.id, s.agent_id, a.name, s.external_id, coalesce(r.n, 0), coalesce(t.n, 0),
           coalesce(m.n, 0), first.content, last.content, coalesce(t.failed, 0),
           s.created_at, s.updated_at
    FROM sessions s
    JOIN agents a ON a.id = s.agent_id
    LEFT JOIN (SELECT session_id, count(*) AS n FROM runs GROUP BY session_id) r
        ON r.session_id = s.id
    LEFT JOIN (SELECT session_id, count(*) AS n, count(*) FILTER (WHERE {FAILED}) AS failed
               FROM tasks GROUP BY session_id) t ON t.session_id = s.id
    LEFT JOIN (SELECT session_id, count(*) AS n FROM chat_messages GROUP BY session_id) m
        ON m.session_id = s.id
    LEFT JOIN (SELECT DISTINCT ON (session_id) session_id, content FROM chat_messages
               ORDER BY session_id, created_at) first ON first.session_id = s.id
    LEFT JOIN (SELECT DISTINCT ON (session_id) session_id, content FROM chat_messages
               ORDER BY session_id, created_at DESC) last ON last.session_id = s.id
    WHERE {{condition}}
    ORDER BY s.updated_at DESC LIMIT 50 OFFSET %(offset)s
"""  # noqa: S608
TOTAL = "SELECT count(*) FROM sessions s WHERE {condition}"
SEARCH = """
    EXISTS (SELECT FROM chat_messages WHERE session_id = s.id AND content ILIKE %(pattern)s)
"""


def original_list(condition: str = "true", offset: int = 0, **values):
    statements = [each.format(condition=condition) for each in (SESSIONS, TOTAL)]

    def read(connection):
        for statement in statements:
            connection.execute(statement, {"offset": offset, **values}).fetchall()

    return read
