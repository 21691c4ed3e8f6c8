"""
Synthetic history, generated inside PostgreSQL: two years of conversations, any number of them.

A session has on average three runs, six messages, twelve tasks and three model calls. Every choice
is a hash of the row's number, so that the same size gives the same history each time.
"""

from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import sql

# What the searches look for, and how often it occurs.
EVERYWHERE = "please"  # 95 of 100 messages
COMMON = "refund"  # 10 of 100 messages
ANCIENT = "telegram"  # 10 of 100 messages of the oldest tenth, none of the others
RARE = "zeppelin"  # 5 messages
RARE_PAIR = "qz"  # 5 messages
MISSING = "xylophone"
SMALL_AGENT = "Agent 0"  # half a percent of the sessions
PREFIX = "ticket-70"  # a part of the history, and rare enough for an index at any size

PHRASES = """
    the order has not come|my parcel was left outside|could you look at it|i was charged twice|
    thank you for the help|the router blinks red|no connection since monday|it works again now|
    which train goes earlier|a seat by the window|the invoice is missing|can i pay by card|
    the app shows nothing|after the update|i need an appointment|next week would do|
    my tooth hurts|the doctor was kind|send it to my office|the address was wrong|
    where is the return label|it arrived broken|a new password|the link has expired|
    i cannot sign in|the code never came|who can decide this|we talked about it before|
    your colleague promised|that is not what i asked|the price went up|i want to cancel|
    change the delivery date|one item is missing|the size does not fit|the colour is different|
    how long does it take|is there a warranty|i moved last month|the number is engaged|
    on the platform|the coach was full|the ticket was checked|a window was open|
    at half past eight|before the holidays|in the morning|as soon as you can|
    with best wishes|for my daughter|in the second box|on the first floor|
    behind the counter|at the usual place|under the old name|with the blue cover|
    it has been a week|nobody answers|i am still waiting|that would be great|
    yes that is right|no that is all|good morning|have a nice day
"""
# Names: s is a session's number, r its run, i the row's number within the run; h hashes.
COMMONS = """
    CREATE FUNCTION pg_temp.h(kind int, a bigint, b bigint DEFAULT 0) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
        $$ SELECT hashint8extended(a * 64 + b, kind) & 9223372036854775807 $$;
    CREATE FUNCTION pg_temp.uid(kind text, a bigint, b bigint DEFAULT 0) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT md5(kind || a || '.' || b)::uuid $$;
    CREATE FUNCTION pg_temp.agent(s bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
        SELECT pg_temp.uid('agent', CASE WHEN pg_temp.h(1, s) % 200 = 0 THEN 0
                                         ELSE 1 + pg_temp.h(1, s) % 199 END) $$;
    -- A session's last activity; the newest is of now.
    CREATE FUNCTION pg_temp.last_at(s bigint, size bigint) RETURNS timestamptz LANGUAGE sql
    STABLE AS $$ SELECT now() - (size - s) * (interval '730 days' / size) $$;
    -- How long it took, in seconds: minutes; one time in fifty up to 60 days; and one time in a
    -- hundred two weeks to a year.
    CREATE FUNCTION pg_temp.lasted(s bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE WHEN pg_temp.h(2, s) % 50 = 0 THEN pg_temp.h(3, s) % 5184000
                    WHEN pg_temp.h(2, s) % 100 = 1 THEN 1209600 + pg_temp.h(3, s) % 30240000
                    ELSE 30 + pg_temp.h(3, s) % 3600 END $$;
    CREATE FUNCTION pg_temp.runs(s bigint) RETURNS int LANGUAGE sql IMMUTABLE AS $$
        SELECT 1 + (pg_temp.h(4, s) % 5)::int $$;
    -- What became of a run: 15 in 1,000 fail, 1 in 10,000 was interrupted.
    CREATE FUNCTION pg_temp.ended(s bigint, r int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE WHEN pg_temp.h(5, s, r) % 1000 < 15 THEN 'failed'
                    WHEN pg_temp.h(5, s, r) % 10000 = 9999 THEN 'interrupted'
                    ELSE 'completed' END $$;
    CREATE FUNCTION pg_temp.words(h bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT p[1 + (h & 63)] || ', ' || p[1 + (h >> 6 & 63)] || ', ' || p[1 + (h >> 12 & 63)]
            || ' and ' || p[1 + (h >> 18 & 63)] || '. ' || p[1 + (h >> 24 & 63)] || ', '
            || p[1 + (h >> 30 & 63)] FROM (SELECT {phrases}::text[]) AS phrases (p) $$;
"""
EACH_RUN = """
    FROM generate_series(1, {size}) s,
    LATERAL (SELECT pg_temp.runs(s) AS n, pg_temp.last_at(s, {size}) AS ends,
                    pg_temp.lasted(s) AS lasted, pg_temp.uid('s', s) AS session,
                    pg_temp.agent(s) AS agent) AS session_of,
    LATERAL generate_series(1, n) r,
    LATERAL (SELECT ends - (n - r) * lasted / n * interval '1 second' AS at,
                    pg_temp.uid('r', s, r) AS run, pg_temp.ended(s, r) AS ended) AS run_of
"""
TABLES = {
    "agents": """
        SELECT pg_temp.uid('agent', n) AS id, 'Agent ' || n AS name, now() AS created_at,
               now() AS updated_at
        FROM generate_series(0, 199) n
    """,
    "sessions": """
        SELECT pg_temp.uid('s', s) AS id, pg_temp.agent(s) AS agent_id,
               CASE WHEN kind < 3 THEN NULL
                    WHEN kind < 4 THEN 'eval:pr-' || s / 1000 || ':case-' || s % 1000
                    WHEN kind < 7 THEN 'ticket-' || s
                    ELSE 'user-' || pg_temp.h(7, s) % 50000 || '@example.com'
               END AS external_id,
               ends - pg_temp.lasted(s) * interval '1 second' AS created_at, ends AS updated_at
        FROM generate_series(1, {size}) s,
        LATERAL (SELECT pg_temp.h(6, s) % 10 AS kind, pg_temp.last_at(s, {size}) AS ends) AS more
    """,
    "runs": """
        SELECT run AS id, session AS session_id,
               jsonb_build_object('user_message', left(pg_temp.words(pg_temp.h(8, s, r)), 80))
                   AS input_data,
               CASE WHEN ended = 'completed' THEN '{{"agent_response": "It is done."}}'::jsonb
                    END AS output_data,
               'null'::jsonb AS context,
               CASE WHEN ended <> 'interrupted' THEN 1.5 END AS duration_seconds,
               at AS created_at, at AS updated_at
    """
    + EACH_RUN,
    "chat_messages": """
        SELECT pg_temp.uid('m', s, r * 2 + i) AS id, agent AS agent_id, session AS session_id,
               run AS run_id, CASE i WHEN 0 THEN 'user' ELSE 'assistant' END AS role,
               CASE WHEN pg_temp.h(10, s, r * 2 + i) % 100 < 95 THEN '{everywhere} ' ELSE '' END
               || pg_temp.words(pg_temp.h(9, s, r * 2 + i))
               || CASE WHEN pg_temp.h(11, s, r * 2 + i) % 10 = 0 THEN ' {common}' ELSE '' END
               || CASE WHEN s <= {size} / 10 AND pg_temp.h(12, s, r * 2 + i) % 10 = 0
                       THEN ' {ancient}' ELSE '' END
               || CASE WHEN r = 1 AND i = 0 AND s % ({size} / 5) = {size} / 10
                       THEN ' {rare} {rare_pair}' ELSE '' END
               AS content,
               at + i * interval '1 second' AS created_at,
               at + i * interval '1 second' AS updated_at
    """
    + EACH_RUN
    + ", LATERAL generate_series(0, CASE ended WHEN 'completed' THEN 1 ELSE 0 END) i",
    "tasks": """
        SELECT pg_temp.uid('t', s, r * 4 + i) AS id, agent AS agent_id, session AS session_id,
               run AS run_id,
               jsonb_build_object('args', jsonb_build_object('serial', 'SN-' || s)) AS inputs,
               CASE WHEN i = 3 AND pg_temp.h(13, s, r) % 100 = 0
                    THEN jsonb_build_object('result', (ARRAY[
                        'Error: device SN-' || s || ' is offline',
                        'Error: timed out after ' || s % 90 || ' seconds',
                        'Error: no order with the number "' || s || '"'])[1 + s % 3])
                    ELSE jsonb_build_object('result', pg_temp.words(pg_temp.h(14, s, r * 4 + i)))
               END AS output,
               (ARRAY['start', 'route', 'answer', 'restart_device'])[1 + i] AS name,
               (ARRAY['start', 'switch', 'llm', 'tool_call'])[1 + i] AS node_type,
               CASE WHEN pg_temp.h(15, s, r * 4 + i) % 50000 = 0 THEN '["Coach 9 is unknown"]'
                    ELSE 'null' END::jsonb AS errors,
               0.3 AS duration_seconds, i AS seq,
               CASE i WHEN 3 THEN 'answer' END AS parent_task_name,
               CASE i WHEN 3 THEN 'python://restart_device' END AS tool_uri,
               at + i * interval '200 ms' AS created_at, at + i * interval '200 ms' AS updated_at
    """
    + EACH_RUN
    + ", LATERAL generate_series(0, 3) i",
    "model_call_stats": """
        SELECT pg_temp.uid('c', s, r) AS id, 'llm' AS call_type, 'openai/gpt-5.4-mini' AS model,
               agent AS agent_id, session AS session_id, run AS run_id,
               '"provider said: 500 upstream timeout"'::jsonb AS response_data,
               CASE ended WHEN 'failed' THEN NULL ELSE 200 END AS response_code,
               900 AS prompt_tokens, 100 AS completion_tokens, 1000 AS total_tokens,
               1.2 AS duration_seconds, at AS created_at, at AS updated_at
    """
    + EACH_RUN,
}


def write_history(uri: str, schema: str, size: int):
    """
    Fill the empty agent tables of a database with `size` sessions, in about 1 s per thousand.

    The tables become unlogged, and are without keys and indexes while they are filled: ten times
    faster.
    """
    phrases = [" ".join(phrase.split()) for phrase in PHRASES.split("|")]

    def connect():
        connection = psycopg.connect(uri, autocommit=True)
        for setting in (
            sql.SQL("search_path TO {}").format(sql.Identifier(schema)),
            sql.SQL("maintenance_work_mem TO '1GB'"),
            sql.SQL("max_parallel_maintenance_workers TO 0"),
        ):
            connection.execute(sql.SQL("SET ") + setting)
        connection.execute(COMMONS.format(phrases=f"ARRAY{phrases}"))
        return connection

    def fill(table):
        with connect() as connection:
            words = {"everywhere": EVERYWHERE, "common": COMMON, "ancient": ANCIENT, "rare": RARE}
            rows = TABLES[table].format(size=size, rare_pair=RARE_PAIR, **words)
            columns = [each.name for each in connection.execute(f"{rows} LIMIT 0").description]
            connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) {rows}")

    def run(statement):
        with connect() as connection:
            connection.execute(statement)

    with connect() as connection:
        definitions = connection.execute(DEFINITIONS, [schema]).fetchall()
        for _, _, undo in definitions:
            connection.execute(undo)
        # Referring tables first: a logged table must not refer to an unlogged one.
        for table in TABLES:
            connection.execute(f"ALTER TABLE {table} SET UNLOGGED")
        with ThreadPoolExecutor(2) as threads:
            # The longest first.
            list(threads.map(fill, reversed(TABLES)))
            for kind in ("p", "i", "f"):
                list(threads.map(run, [make for of, make, _ in definitions if of == kind]))
            list(threads.map(run, [f"VACUUM ANALYZE {table}" for table in reversed(TABLES)]))


# (kind, statement that makes it, statement that drops it): foreign keys, indexes, primary keys.
DEFINITIONS = """
    WITH ours AS (SELECT oid, relname FROM pg_class
                  WHERE relnamespace = %s::regnamespace AND relkind = 'r')
    SELECT contype::text,
           format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s', relname, conname,
                  pg_get_constraintdef(c.oid)
                  || CASE contype WHEN 'f' THEN ' NOT VALID' ELSE '' END),
           format('ALTER TABLE %%I DROP CONSTRAINT %%I', relname, conname)
    FROM pg_constraint c JOIN ours ON ours.oid = conrelid WHERE contype IN ('f', 'p')
    UNION ALL
    SELECT 'i', pg_get_indexdef(indexrelid), 'DROP INDEX ' || indexrelid::regclass
    FROM pg_index JOIN ours ON ours.oid = indrelid WHERE NOT indisprimary
    ORDER BY 1
"""
