-- The agent runtime's tables at revision 0006, for the local database and the tests.
-- Table names carry no schema: the caller sets search_path to the schema that should hold them.

CREATE TABLE alembic_version (
    version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY
);
INSERT INTO alembic_version VALUES ('0006');

CREATE TABLE agents (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    description text,
    input_schema jsonb,
    output_schema jsonb,
    workflow jsonb,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    external_id text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX ix_sessions_agent_id_external_id ON sessions (agent_id, external_id);
CREATE INDEX ix_sessions_agent_id_updated_at ON sessions (agent_id, updated_at);
CREATE INDEX ix_sessions_updated_at ON sessions (updated_at);

CREATE TABLE runs (
    id uuid PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    input_data jsonb,
    output_data jsonb,
    context jsonb,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    duration_seconds numeric
);
CREATE INDEX ix_runs_session_id ON runs (session_id);

CREATE TABLE tasks (
    id uuid PRIMARY KEY,
    agent_id uuid REFERENCES agents (id) ON DELETE SET NULL,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    run_id uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    inputs jsonb,
    output jsonb,
    name text,
    node_type text,
    prompt text,
    errors jsonb,
    duration_seconds numeric,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    seq integer,
    parent_task_name text,
    tool_uri text
);
CREATE INDEX ix_tasks_agent_id ON tasks (agent_id);
CREATE INDEX ix_tasks_session_id ON tasks (session_id);
CREATE INDEX ix_tasks_run_id ON tasks (run_id);
CREATE INDEX ix_tasks_parent_task_name ON tasks (parent_task_name);
CREATE INDEX ix_tasks_tool_uri ON tasks (tool_uri);

CREATE TABLE chat_messages (
    id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    run_id uuid REFERENCES runs (id) ON DELETE SET NULL,
    role text NOT NULL,
    content text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX ix_chat_messages_session_id_created_at ON chat_messages (session_id, created_at);
CREATE INDEX ix_chat_messages_agent_id_created_at ON chat_messages (agent_id, created_at);
CREATE INDEX ix_chat_messages_run_id ON chat_messages (run_id);

CREATE TABLE model_call_stats (
    id uuid PRIMARY KEY,
    call_type text NOT NULL,
    model text NOT NULL,
    agent_id uuid,
    request_data jsonb,
    response_data jsonb,
    response_code integer,
    prompt_tokens integer,
    completion_tokens integer,
    total_tokens integer,
    batch_size integer,
    duration_seconds numeric(10, 6),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    cached_prompt_tokens integer,
    reasoning_tokens integer,
    session_id uuid,
    run_id uuid
);
CREATE INDEX ix_model_call_stats_call_type ON model_call_stats (call_type);
CREATE INDEX ix_model_call_stats_model ON model_call_stats (model);
CREATE INDEX ix_model_call_stats_created_at ON model_call_stats (created_at);
CREATE INDEX ix_model_call_stats_agent_id_created_at ON model_call_stats (agent_id, created_at);
CREATE INDEX ix_model_call_stats_session_id ON model_call_stats (session_id);
CREATE INDEX ix_model_call_stats_run_id ON model_call_stats (run_id);
