-- Tables. Everything of a group hangs on its row in "groups": its lock is the order of the group's revisions (M3).

CREATE TABLE robotgroups.groups (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster text NOT NULL,
    namespace_uid text NOT NULL,
    name text NOT NULL CHECK (name <> ''),
    resource_uid text NOT NULL DEFAULT '',
    login text UNIQUE,
    max_tokens integer NOT NULL DEFAULT 4000 CHECK (max_tokens >= 1),
    language text NOT NULL DEFAULT 'english',
    tokenizer text NOT NULL DEFAULT 'cl100k_base',
    retention text NOT NULL DEFAULT 'Retain' CHECK (retention IN ('Retain', 'Delete')),
    failover_mode text NOT NULL DEFAULT 'Automatic' CHECK (failover_mode IN ('Automatic', 'Manual')),
    heartbeat_ms integer NOT NULL DEFAULT 500 CHECK (heartbeat_ms >= 10),
    lease_ms integer NOT NULL DEFAULT 3000,
    suspended boolean NOT NULL DEFAULT false,
    active_target integer NOT NULL DEFAULT 0 CHECK (active_target >= 0),
    epoch bigint NOT NULL DEFAULT 0,
    revision bigint NOT NULL DEFAULT 0,
    working_memory_nodes integer NOT NULL DEFAULT 0 CHECK (working_memory_nodes >= 0),
    working_memory_tokens integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (cluster, namespace_uid, name),
    CHECK (lease_ms >= 3 * heartbeat_ms),
    -- M4, the last wall: no statement can leave a working set above its budget.
    CONSTRAINT working_memory_within_budget CHECK (working_memory_tokens BETWEEN 0 AND max_tokens)
) WITH (fillfactor = 50);
COMMENT ON COLUMN robotgroups.groups.active_target IS
    'how many robots should be active; fewer is a vacancy, which a warm passive or the returning robot fills';

CREATE TABLE robotgroups.robots (
    group_id bigint NOT NULL REFERENCES robotgroups.groups ON DELETE CASCADE,
    name text NOT NULL CHECK (name <> ''),
    ordinal integer NOT NULL,
    declared_role text NOT NULL CHECK (declared_role IN ('active', 'passive')),
    role text NOT NULL CHECK (role IN ('active', 'passive', 'failed')),
    tenure bigint NOT NULL DEFAULT 0,
    incarnation uuid,
    joined_at timestamptz NOT NULL DEFAULT now(),
    withdrawn_at timestamptz,
    failed_at timestamptz,
    failed_reason text,
    detected_by text,
    PRIMARY KEY (group_id, name),
    CHECK ((role = 'active') = (tenure > 0))
);

-- Who is here now. UNLOGGED: a crash of Postgres empties it, and an empty table is no proof of anybody's death.
CREATE UNLOGGED TABLE robotgroups.presence (
    group_id bigint NOT NULL REFERENCES robotgroups.groups ON DELETE CASCADE,
    robot text NOT NULL,
    incarnation uuid NOT NULL,
    backend_pid integer NOT NULL,
    server_started timestamptz NOT NULL,
    endpoint text NOT NULL DEFAULT '',
    warm boolean NOT NULL DEFAULT false,
    applied_revision bigint NOT NULL DEFAULT 0,
    heartbeat bigint NOT NULL DEFAULT 0,
    heartbeat_at timestamptz NOT NULL,
    registered_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, robot)
) WITH (fillfactor = 50);

-- Long-term memory.
CREATE TABLE robotgroups.memories (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_id bigint NOT NULL REFERENCES robotgroups.groups ON DELETE CASCADE,
    content text NOT NULL,
    content_hash bytea NOT NULL,
    originator text NOT NULL,
    tokens integer NOT NULL CHECK (tokens >= 0),
    tags text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    lexemes tsvector NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    remembered_at timestamptz NOT NULL DEFAULT now(),
    remember_count integer NOT NULL DEFAULT 1,
    forgotten_at timestamptz,
    UNIQUE (group_id, content_hash)
);
CREATE INDEX memories_lexemes ON robotgroups.memories USING gin (lexemes);
CREATE INDEX memories_group_created ON robotgroups.memories (group_id, created_at);

-- What a retried request answers, whatever it asked the first time (M2).
CREATE TABLE robotgroups.idempotency_keys (
    group_id bigint NOT NULL REFERENCES robotgroups.groups ON DELETE CASCADE,
    key text NOT NULL CHECK (key <> ''),
    content_hash bytea NOT NULL,
    memory_id bigint NOT NULL REFERENCES robotgroups.memories ON DELETE CASCADE,
    revision bigint NOT NULL,
    epoch bigint NOT NULL,
    created boolean NOT NULL,
    in_working_memory boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, key)
);
CREATE INDEX idempotency_keys_memory ON robotgroups.idempotency_keys (memory_id);

-- The working set: within max_tokens at every revision (M4).
CREATE TABLE robotgroups.working_memory (
    group_id bigint NOT NULL REFERENCES robotgroups.groups ON DELETE CASCADE,
    memory_id bigint NOT NULL REFERENCES robotgroups.memories ON DELETE CASCADE,
    tokens integer NOT NULL,
    keeper text NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now(),
    access_count integer NOT NULL DEFAULT 0,
    last_accessed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, memory_id)
);
CREATE INDEX working_memory_memory ON robotgroups.working_memory (memory_id);

-- The change feed: gap-free, in commit order (M3).
CREATE TABLE robotgroups.changes (
    group_id bigint NOT NULL REFERENCES robotgroups.groups ON DELETE CASCADE,
    revision bigint NOT NULL,
    kind text NOT NULL
        CHECK (kind IN ('added', 'evicted', 'cleared', 'updated', 'forgotten', 'restored', 'role')),
    epoch bigint NOT NULL,
    memory_id bigint,
    robot text,
    payload jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, revision)
);

CREATE TABLE robotgroups.failovers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_id bigint NOT NULL REFERENCES robotgroups.groups ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('failover', 'switchover')),
    source text NOT NULL,
    target text NOT NULL,
    reason text NOT NULL,
    detected_by text NOT NULL,
    epoch bigint NOT NULL,
    revision bigint NOT NULL,
    detected_at timestamptz NOT NULL,
    promoted_at timestamptz NOT NULL,
    UNIQUE (group_id, epoch)
);
