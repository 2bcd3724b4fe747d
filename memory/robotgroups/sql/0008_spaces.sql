-- Spaces: where long-term memory lives. A group has a space of its own unless it names one that other groups of its namespace name too.
-- With it come the columns and tables of everything that memory can do; the functions follow in the next files.

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN CREATE EXTENSION vector SCHEMA public; END IF;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
    RAISE EXCEPTION 'this database needs pgvector 0.8 or later: as a superuser, CREATE EXTENSION vector SCHEMA public (%)', SQLERRM;
END $$;
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace WHERE x.extname = 'vector' AND n.nspname = 'public') THEN
        RAISE EXCEPTION 'pgvector must be in the schema public: as a superuser, ALTER EXTENSION vector SET SCHEMA public';
    END IF;
    IF (SELECT string_to_array(extversion, '.')::integer[] < '{0,8}' FROM pg_extension WHERE extname = 'vector') THEN
        RAISE EXCEPTION 'pgvector 0.8 or later is needed: as a superuser, ALTER EXTENSION vector UPDATE';
    END IF;
END $$;

CREATE TABLE robotgroups.spaces (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster text NOT NULL,
    namespace_uid text NOT NULL,
    name text CHECK (name <> ''),
    -- which model recall compares with, and which one memories are being embedded for (another one while a change of model runs)
    serving_model bigint,
    target_model bigint,
    -- memories up to this id have their lexemes; full-text recall reads what is newer as it stands
    lexed_to bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (cluster, namespace_uid, name)
);
COMMENT ON COLUMN robotgroups.spaces.name IS 'NULL: the space of one group alone';

ALTER TABLE robotgroups.groups
    ADD COLUMN space_id bigint REFERENCES robotgroups.spaces,
    ADD COLUMN shares boolean NOT NULL DEFAULT false,
    ADD COLUMN eviction text NOT NULL DEFAULT 'balanced',
    ADD COLUMN pinned_tokens integer NOT NULL DEFAULT 0,
    ADD COLUMN slots integer NOT NULL DEFAULT 0,
    ADD COLUMN ranking_used integer NOT NULL DEFAULT 0,
    ADD COLUMN embedding jsonb NOT NULL DEFAULT '{"provider": "none"}',
    ADD COLUMN extraction jsonb NOT NULL DEFAULT '{"provider": "none"}',
    ADD COLUMN expire_after_s bigint,
    ADD COLUMN keep_memories bigint,
    ADD COLUMN previous_login text UNIQUE,
    ADD COLUMN pruned_to bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT working_memory_within_budget,
    ADD CONSTRAINT working_memory_within_budget CHECK (working_memory_nodes >= 0 AND working_memory_tokens BETWEEN pinned_tokens AND max_tokens AND pinned_tokens >= 0),
    DROP CONSTRAINT groups_name_check, DROP CONSTRAINT groups_max_tokens_check, DROP CONSTRAINT groups_retention_check, DROP CONSTRAINT groups_failover_mode_check,
    DROP CONSTRAINT groups_heartbeat_ms_check, DROP CONSTRAINT groups_active_target_check, DROP CONSTRAINT groups_working_memory_nodes_check,
    DROP CONSTRAINT groups_check;
COMMENT ON COLUMN robotgroups.groups.shares IS 'whether its space has a name: other groups may remember there too';
COMMENT ON COLUMN robotgroups.groups.ranking_used IS 'how many of the group''s ranking (rankings) have left the working set';

-- What a group is declared to be, checked when it is: as constraints, all of it would be read from the catalog and checked with each memory that is remembered.
CREATE FUNCTION robotgroups.check_group() RETURNS trigger
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_wrong text := CASE
    WHEN NEW.name = '' THEN 'name'
    WHEN NEW.max_tokens < 1 THEN 'max_tokens'
    WHEN NEW.retention NOT IN ('Retain', 'Delete') THEN 'retention'
    WHEN NEW.failover_mode NOT IN ('Automatic', 'Manual') THEN 'failover_mode'
    WHEN NEW.heartbeat_ms < 10 THEN 'heartbeat_ms'
    WHEN NEW.lease_ms < 3 * NEW.heartbeat_ms THEN 'lease_ms'
    WHEN NEW.active_target < 0 THEN 'active_target'
    WHEN NEW.eviction NOT IN ('balanced', 'lru', 'lfu', 'fifo') THEN 'eviction'
    WHEN NEW.expire_after_s <= 0 THEN 'expire_after_s'
    WHEN NEW.keep_memories <= 0 THEN 'keep_memories' END;
BEGIN
    IF v_wrong IS NOT NULL THEN
        RAISE EXCEPTION '% of group % cannot be %', v_wrong, NEW.name, to_jsonb(NEW)->v_wrong USING ERRCODE = 'check_violation', CONSTRAINT = 'groups_' || v_wrong || '_check';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION robotgroups.check_group() FROM PUBLIC;
CREATE TRIGGER check_group BEFORE INSERT OR UPDATE OF name, max_tokens, retention, failover_mode, heartbeat_ms, lease_ms, active_target, eviction, expire_after_s, keep_memories
    ON robotgroups.groups FOR EACH ROW EXECUTE FUNCTION robotgroups.check_group();
COMMENT ON COLUMN robotgroups.groups.slots IS 'the highest place that the working set has used';
COMMENT ON COLUMN robotgroups.groups.pruned_to IS 'changes up to this revision are gone: a cache that is further back starts from a snapshot';

ALTER TABLE robotgroups.memories
    ADD COLUMN space_id bigint,
    ADD COLUMN scope text[] NOT NULL DEFAULT '{}',
    ADD COLUMN version integer NOT NULL DEFAULT 1,
    ADD COLUMN updated_at timestamptz,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN access_count integer NOT NULL DEFAULT 0,
    ADD COLUMN last_accessed_at timestamptz,
    ADD COLUMN propositions text[];
COMMENT ON COLUMN robotgroups.memories.scope IS 'whom or what it belongs to: sorted key=value texts';

DO $$
DECLARE g robotgroups.groups; v_space bigint;
BEGIN
    FOR g IN SELECT * FROM robotgroups.groups ORDER BY id LOOP
        INSERT INTO robotgroups.spaces (cluster, namespace_uid) VALUES (g.cluster, g.namespace_uid) RETURNING id INTO v_space;
        UPDATE robotgroups.groups SET space_id = v_space WHERE id = g.id;
        UPDATE robotgroups.memories SET space_id = v_space WHERE group_id = g.id;
    END LOOP;
END $$;

ALTER TABLE robotgroups.groups ALTER COLUMN space_id SET NOT NULL;
CREATE INDEX groups_space ON robotgroups.groups (space_id);
ALTER TABLE robotgroups.memories
    ALTER COLUMN space_id SET NOT NULL,
    ALTER COLUMN group_id DROP NOT NULL,
    DROP CONSTRAINT memories_group_id_fkey,
    DROP CONSTRAINT memories_group_id_content_hash_key,
    ADD CONSTRAINT memories_once UNIQUE (content_hash, space_id),
    SET (fillfactor = 90);
COMMENT ON COLUMN robotgroups.memories.group_id IS 'the group that remembered it first';
DROP INDEX robotgroups.memories_group_created;

-- Words as a space's own, with the space's id before each: the index has a list for each space, so that a search reads nothing of the others. A tsvector takes no word
-- of more than 2,046 bytes and no more than 1 MiB: what would not fit is left out, the last words of a text first.
CREATE FUNCTION robotgroups.words_of(p_space bigint, p_words tsvector) RETURNS tsvector
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        -- mostly: words that fit and have no quote before which one could be mistaken for a word's first
        WHEN octet_length(t) < 2000 AND strpos(t, ' ''''') = 0 THEN substr(replace(' ' || t, ' ''', ' ''' || to_hex(p_space) || '/'), 2)::tsvector
        ELSE (
            SELECT coalesce(string_agg(format('''%s/%s''%s', to_hex(p_space), replace(replace(w.lexeme, '\', '\\'), '''', ''''''),
                ':' || array_to_string(w.positions, ',')), ' '), '')::tsvector
            FROM (SELECT u.lexeme, u.positions, sum(octet_length(u.lexeme) + 2 * cardinality(u.positions) + 24) OVER (ORDER BY u.positions[1], u.lexeme) AS bytes
                FROM unnest(p_words) u WHERE octet_length(u.lexeme) <= 2000) w
            WHERE w.bytes <= 1000000) END
    FROM (SELECT p_words::text) x(t)
$$;
CREATE FUNCTION robotgroups.words_of(p_space bigint, p_query tsquery) RETURNS tsquery
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN numnode(p_query) = 0 THEN p_query
        ELSE regexp_replace(p_query::text, $r$'((?:[^']|'')*)'$r$, '''' || to_hex(p_space) || '/\1''', 'g')::tsquery END
$$;

-- Lexemes stand apart, in rows that are ranked without reading the texts, and are made in the background: recall reads what has none yet as it stands.
CREATE TABLE robotgroups.lexemes (
    memory_id bigint PRIMARY KEY REFERENCES robotgroups.memories ON DELETE CASCADE,
    space_id bigint NOT NULL,
    lexemes tsvector NOT NULL
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
INSERT INTO robotgroups.lexemes SELECT id, space_id, robotgroups.words_of(space_id, lexemes) FROM robotgroups.memories ORDER BY id;
CREATE INDEX lexemes_words ON robotgroups.lexemes USING gin (lexemes);
UPDATE robotgroups.spaces s SET lexed_to = coalesce((SELECT max(id) FROM robotgroups.memories m WHERE m.space_id = s.id), 0);
DROP INDEX robotgroups.memories_lexemes;
ALTER TABLE robotgroups.memories DROP COLUMN lexemes;
-- newest first within a space: recency, retention, and the bound on how many matches full-text recall ranks
CREATE INDEX memories_space ON robotgroups.memories (space_id, id);
CREATE INDEX memories_scope ON robotgroups.memories USING gin (scope) WHERE scope <> '{}';
CREATE INDEX memories_tags ON robotgroups.memories USING gin (tags) WHERE tags <> '{}';
CREATE INDEX memories_expiry ON robotgroups.memories (space_id, expires_at) WHERE expires_at IS NOT NULL;

-- Every remember writes memories and changes; a foreign key would look the space and the group up each time. A trigger does what the keys did.
ALTER TABLE robotgroups.changes DROP CONSTRAINT changes_group_id_fkey;

-- What one batch brought in is one row: its last revision, how many, and the items as they were sent; changes_after makes an event of each.
ALTER TABLE robotgroups.changes
    ADD COLUMN memory_ids bigint[],
    ALTER COLUMN payload SET STORAGE EXTERNAL;

-- A group takes its feed along, and the last group of a space takes the space.
CREATE FUNCTION robotgroups.group_deleted() RETURNS trigger
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
BEGIN
    DELETE FROM changes WHERE group_id = OLD.id;
    DELETE FROM spaces s WHERE s.id = OLD.space_id AND NOT EXISTS (SELECT FROM groups g WHERE g.space_id = s.id);
    IF FOUND THEN DELETE FROM memories WHERE space_id = OLD.space_id; ELSE UPDATE memories SET group_id = NULL WHERE space_id = OLD.space_id AND group_id = OLD.id; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER group_deleted AFTER DELETE ON robotgroups.groups FOR EACH ROW EXECUTE FUNCTION robotgroups.group_deleted();

-- The working set turns over all day. Its rows are places: what comes in takes the place of what was evicted by an update of columns that no index
-- has, so that Postgres prunes the old version at once (HOT) and no scan ever wades through dead rows until a vacuum comes.
ALTER TABLE robotgroups.working_memory
    ADD COLUMN slot integer,
    ADD COLUMN pinned boolean NOT NULL DEFAULT false,
    -- what eviction computes with, of every row, whenever one has to go
    ADD COLUMN weight double precision GENERATED ALWAYS AS (ln(1 + access_count::double precision)) STORED,
    ADD COLUMN accessed_s double precision GENERATED ALWAYS AS (extract(epoch FROM last_accessed_at AT TIME ZONE 'UTC')::double precision) STORED,
    DROP CONSTRAINT working_memory_pkey,
    DROP CONSTRAINT working_memory_memory_id_fkey,
    SET (fillfactor = 50);
DROP INDEX robotgroups.working_memory_memory;
UPDATE robotgroups.working_memory w SET slot = n.slot
    FROM (SELECT group_id, memory_id, row_number() OVER (PARTITION BY group_id ORDER BY memory_id) AS slot FROM robotgroups.working_memory) n
    WHERE n.group_id = w.group_id AND n.memory_id = w.memory_id;
ALTER TABLE robotgroups.working_memory ADD PRIMARY KEY (group_id, slot);
UPDATE robotgroups.groups g SET slots = (SELECT coalesce(max(w.slot), 0) FROM robotgroups.working_memory w WHERE w.group_id = g.id);
COMMENT ON TABLE robotgroups.working_memory IS 'one row for each place; that no memory has two is the functions'' business, under the lock of the group''s row';

-- What a memory said before it was updated.
CREATE TABLE robotgroups.memory_versions (
    memory_id bigint NOT NULL REFERENCES robotgroups.memories ON DELETE CASCADE,
    version integer NOT NULL,
    content text NOT NULL,
    tokens integer NOT NULL,
    tags text[] NOT NULL,
    metadata jsonb NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL DEFAULT now(),
    replaced_by text,
    PRIMARY KEY (memory_id, version)
);

-- A model as one space uses it: vectors of two models are never compared.
CREATE TABLE robotgroups.embedding_models (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space_id bigint NOT NULL REFERENCES robotgroups.spaces ON DELETE CASCADE,
    provider text NOT NULL CHECK (provider <> 'none'),
    model text NOT NULL,
    dimensions integer NOT NULL CHECK (dimensions BETWEEN 1 AND 16000),
    config jsonb NOT NULL,
    indexed boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (space_id, provider, model, dimensions)
);
COMMENT ON COLUMN robotgroups.embedding_models.config IS 'EmbeddingConfig as JSON, without any secret: how queries are embedded alike';
COMMENT ON COLUMN robotgroups.embedding_models.indexed IS 'an HNSW index of its own stands (embeddings_hnsw_ID); until then search is exact';
ALTER TABLE robotgroups.spaces
    ADD FOREIGN KEY (serving_model) REFERENCES robotgroups.embedding_models ON DELETE SET NULL,
    ADD FOREIGN KEY (target_model) REFERENCES robotgroups.embedding_models ON DELETE SET NULL;

-- Apart from the memories: one HNSW insert costs more than remembering does. vector up to 2000 dimensions, halfvec beyond (pgvector's limits of an index).
CREATE TABLE robotgroups.embeddings (
    model_id bigint NOT NULL REFERENCES robotgroups.embedding_models ON DELETE CASCADE,
    memory_id bigint NOT NULL REFERENCES robotgroups.memories ON DELETE CASCADE,
    embedding public.vector,
    half public.halfvec,
    PRIMARY KEY (model_id, memory_id),
    CHECK ((embedding IS NULL) <> (half IS NULL))
);
CREATE INDEX embeddings_memory ON robotgroups.embeddings (memory_id);

-- What is to be done with a memory after its acknowledgement, at least once (embed, extract tags, extract propositions). A backfill embeds what was there
-- when a model was chosen: what is new comes first. Due at infinity: the memory is forgotten.
CREATE TABLE robotgroups.jobs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space_id bigint NOT NULL REFERENCES robotgroups.spaces ON DELETE CASCADE,
    memory_id bigint NOT NULL REFERENCES robotgroups.memories ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('embed', 'backfill', 'tags', 'propositions', 'relate')),
    attempts integer NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL DEFAULT now(),
    claimed_by uuid,
    error text,
    refused boolean NOT NULL DEFAULT false,
    UNIQUE (memory_id, kind)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX jobs_due ON robotgroups.jobs (space_id, kind, not_before, id);
CREATE INDEX jobs_failing ON robotgroups.jobs (space_id, id) WHERE error IS NOT NULL;
COMMENT ON COLUMN robotgroups.jobs.refused IS 'the model does not take this text: the fault is not the endpoint''s';

-- Edges between memories: "tags" is kept up in the background, every other kind is somebody's word.
CREATE TABLE robotgroups.relations (
    source bigint NOT NULL REFERENCES robotgroups.memories ON DELETE CASCADE,
    target bigint NOT NULL REFERENCES robotgroups.memories ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind <> ''),
    space_id bigint NOT NULL REFERENCES robotgroups.spaces ON DELETE CASCADE,
    weight real NOT NULL CHECK (weight > 0 AND weight <= 1),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, target, kind),
    CHECK (source <> target)
);
CREATE INDEX relations_target ON robotgroups.relations (target);

-- Files that were loaded, and which memories their chunks are.
CREATE TABLE robotgroups.files (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space_id bigint NOT NULL REFERENCES robotgroups.spaces ON DELETE CASCADE,
    path text NOT NULL CHECK (path <> ''),
    digest bytea NOT NULL,
    front_matter jsonb NOT NULL DEFAULT '{}',
    loaded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (space_id, path)
);
CREATE TABLE robotgroups.file_chunks (
    file_id bigint NOT NULL REFERENCES robotgroups.files ON DELETE CASCADE,
    position integer NOT NULL,
    memory_id bigint NOT NULL REFERENCES robotgroups.memories ON DELETE CASCADE,
    heading text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (file_id, position)
);
CREATE INDEX file_chunks_memory ON robotgroups.file_chunks (memory_id);

-- Tables whose rows come and go all day are vacuumed often; the feed only grows at one end and is cut at the other.
ALTER TABLE robotgroups.groups SET (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
ALTER TABLE robotgroups.presence SET (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
ALTER TABLE robotgroups.working_memory SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
ALTER TABLE robotgroups.changes SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
ALTER TABLE robotgroups.idempotency_keys SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
