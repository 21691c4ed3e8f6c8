-- Distributes the agent runtime's tables over the workers of a Citus cluster, so that all rows of a
-- conversation are on one worker. Stop the runtime, then run this with psql on the coordinator, as
-- the tables' owner. If a statement fails, nothing has changed. The workers must already be known
-- to this database: SELECT * FROM citus_get_active_worker_nodes().
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL search_path TO {schema};
-- Needed because distributed tables refer to a reference table.
SET LOCAL citus.multi_shard_modify_mode = 'sequential';

-- Revisions before 0005 cannot be distributed.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'model_call_stats'::regclass AND attname = 'session_id'
    ) THEN
        RAISE EXCEPTION 'model_call_stats has no session_id: first upgrade kavalai to revision '
            '0005 or later, which records the session of each model call';
    END IF;
END $$;

-- Citus accepts no NULL in the column by which rows are distributed. A model call without a session
-- becomes the only row of a session that does not exist, so `manage.py purge` removes its texts as it
-- does with those of erased conversations.
UPDATE model_call_stats SET session_id = id WHERE session_id IS NULL;

-- Citus accepts only keys that contain that column. `id` comes first, because the runtime looks up
-- rows by their ids alone.
DO $$
DECLARE
    of_table regclass;
    key name;
BEGIN
    FOR of_table, key IN
        SELECT conrelid, conname FROM pg_constraint
        WHERE contype = 'f' AND conrelid IN (
            'sessions'::regclass, 'runs'::regclass, 'tasks'::regclass, 'chat_messages'::regclass
        )
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', of_table, key);
    END LOOP;
    FOR of_table, key IN
        SELECT conrelid, conname FROM pg_constraint
        WHERE contype = 'p' AND conrelid IN (
            'runs'::regclass, 'tasks'::regclass, 'chat_messages'::regclass,
            'model_call_stats'::regclass
        )
    LOOP
        EXECUTE format(
            'ALTER TABLE %s DROP CONSTRAINT %I, ADD PRIMARY KEY (id, session_id)', of_table, key
        );
    END LOOP;
END $$;

SELECT create_reference_table('agents');
SELECT create_distributed_table('sessions', 'id', colocate_with => 'none', shard_count => {shards});
SELECT create_distributed_table('runs', 'session_id', colocate_with => 'sessions');
SELECT create_distributed_table('tasks', 'session_id', colocate_with => 'sessions');
SELECT create_distributed_table('chat_messages', 'session_id', colocate_with => 'sessions');
SELECT create_distributed_table('model_call_stats', 'session_id', colocate_with => 'sessions');

-- Otherwise the coordinator would keep the rows on its disk, even once they are erased.
SELECT truncate_local_data_after_distributing_table(name::regclass)
FROM unnest(ARRAY[
    'model_call_stats', 'chat_messages', 'tasks', 'runs', 'sessions', 'agents'
]) AS name;

ALTER TABLE sessions ADD FOREIGN KEY (agent_id) REFERENCES agents (id) ON DELETE CASCADE;
ALTER TABLE runs ADD FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE;
ALTER TABLE tasks ADD FOREIGN KEY (agent_id) REFERENCES agents (id) ON DELETE SET NULL;
ALTER TABLE tasks ADD FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE;
ALTER TABLE tasks ADD FOREIGN KEY (run_id, session_id) REFERENCES runs (id, session_id)
    ON DELETE CASCADE;
ALTER TABLE chat_messages ADD FOREIGN KEY (agent_id) REFERENCES agents (id) ON DELETE CASCADE;
ALTER TABLE chat_messages ADD FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE;
-- Citus has no ON DELETE SET NULL for a key with the session: deleting only a run is refused while
-- it has messages. Deleting its session deletes both.
ALTER TABLE chat_messages ADD FOREIGN KEY (run_id, session_id) REFERENCES runs (id, session_id);
COMMIT;
ANALYZE {schema}.agents, {schema}.sessions, {schema}.runs, {schema}.tasks, {schema}.chat_messages,
    {schema}.model_call_stats;
