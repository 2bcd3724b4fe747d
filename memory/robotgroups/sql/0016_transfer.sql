-- Export and import of a group: what its memories are, were and are related to goes out as lines of JSON, and comes in again with its times and counts. All of it
-- is the owner's: no robot could be held to times and counts that it claims.
-- An export reads page by page: no transaction stays open, which would keep vacuum from the rows that robots change all the time.
-- Locks: as everywhere, the space's row when it is shared, then its groups', then memories, jobs last.

-- What somebody has said of memories, in the order of an export: relations by tags are many, and made anew.
CREATE INDEX relations_said ON robotgroups.relations (space_id, source, target, kind COLLATE "C") WHERE kind <> 'tags';

-- How far an import is that has not ended, written with the batch itself: it goes on exactly there.
CREATE TABLE robotgroups.imports (
    group_id bigint NOT NULL REFERENCES robotgroups.groups ON DELETE CASCADE,
    source bytea NOT NULL,
    line bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, source)
);
COMMENT ON COLUMN robotgroups.imports.source IS 'the hash of what is imported: of its first line';
ALTER TABLE robotgroups.imports ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON robotgroups.imports FOR SELECT TO robotgroups_robot USING (group_id = ANY ((SELECT robotgroups.my_groups())::bigint[]));

ALTER TABLE robotgroups.spaces ADD COLUMN imported_to bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN robotgroups.spaces.imported_to IS 'memories up to this id may be older than those with lower ids';

-- Export -------------------------------------------------------------------------------------------------------------------------------------------------------

-- What an export begins with: the group and its settings, the last memory that it takes along, about how many these are, the model that recall compares with.
CREATE FUNCTION robotgroups.export_header(p_group bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    RETURN (SELECT jsonb_build_object(
            'group', jsonb_build_object('cluster', g.cluster, 'namespace_uid', g.namespace_uid, 'name', g.name, 'created_at', g.created_at),
            'settings', jsonb_build_object('max_tokens', g.max_tokens, 'language', g.language, 'tokenizer', g.tokenizer, 'heartbeat_ms', g.heartbeat_ms,
                'lease_ms', g.lease_ms, 'failover_mode', g.failover_mode, 'retention', g.retention, 'space', s.name, 'eviction', g.eviction,
                'expire_after_s', g.expire_after_s, 'keep_memories', g.keep_memories, 'embedding', g.embedding, 'extraction', g.extraction),
            'up_to', (SELECT coalesce(max(m.id), 0) FROM memories m WHERE m.space_id = s.id),
            'memories', (SELECT count(*) FROM memories m WHERE m.space_id = s.id),
            'model', (SELECT jsonb_build_object('id', e.id, 'provider', e.provider, 'model', e.model, 'dimensions', e.dimensions)
                FROM embedding_models e WHERE e.id = s.serving_model),
            'exported_at', now())
        FROM groups g JOIN spaces s ON s.id = g.space_id WHERE g.id = p_group);
END $$;

-- A page of memories in the order of their ids, after p_after and up to p_to: at most p_limit, and no more once they have p_bytes. line is NULL for what has
-- expired; embedding is its vector by p_model. The columns of the inner query are the fields of a line, in their order.
CREATE FUNCTION robotgroups.export_memories(p_group bigint, p_after bigint, p_to bigint, p_limit integer, p_bytes bigint, p_model bigint)
RETURNS TABLE (id bigint, version integer, line text, embedding text)
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp SET timezone = 'UTC' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE v_space bigint;
BEGIN
    SELECT g.space_id INTO v_space FROM groups g WHERE g.id = p_group;
    RETURN QUERY
        WITH looked AS (
            SELECT m.id, octet_length(m.content) + pg_column_size(m.metadata) AS bytes FROM memories m
            WHERE m.space_id = v_space AND m.id > p_after AND m.id <= p_to ORDER BY m.id LIMIT p_limit),
        page AS (SELECT s.id FROM (SELECT l.id, sum(l.bytes) OVER (ORDER BY l.id) - l.bytes AS before FROM looked l) s WHERE s.before < p_bytes),
        held AS MATERIALIZED (SELECT * FROM working_memory w WHERE w.group_id = p_group)
        SELECT m.id, m.version, CASE WHEN m.expires_at IS NULL OR m.expires_at > now() THEN (SELECT row_to_json(x)::text FROM (SELECT
                'memory' AS type, encode(m.content_hash, 'hex') AS hash, m.content, m.originator, m.tags, m.metadata, scope_json(m.scope) AS scope,
                m.created_at, m.remembered_at, m.remember_count, m.access_count, m.last_accessed_at, m.version, m.updated_at, m.expires_at, m.forgotten_at,
                m.propositions, CASE WHEN w.memory_id IS NOT NULL THEN (SELECT row_to_json(y) FROM (SELECT
                    w.keeper, w.pinned, w.added_at, w.access_count, w.last_accessed_at) y) END AS working_memory) x) END,
            (SELECT row_to_json(z)::text FROM (SELECT 'embedding' AS type, coalesce(e.embedding::text, e.half::text)::json AS vector) z WHERE e.model_id IS NOT NULL)
        FROM page p JOIN memories m ON m.id = p.id LEFT JOIN held w ON w.memory_id = m.id
        LEFT JOIN embeddings e ON e.model_id = p_model AND e.memory_id = m.id
        ORDER BY m.id;
END $$;

-- What these memories said before, in the order of memories and versions, after one of these; limits as of export_memories.
CREATE FUNCTION robotgroups.export_versions(p_group bigint, p_memories bigint[], p_memory bigint, p_version integer, p_limit integer, p_bytes bigint)
RETURNS TABLE (memory_id bigint, version integer, line text)
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp SET timezone = 'UTC' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE v_space bigint;
BEGIN
    SELECT g.space_id INTO v_space FROM groups g WHERE g.id = p_group;
    RETURN QUERY
        WITH looked AS (
            SELECT v.memory_id, v.version, octet_length(v.content) + pg_column_size(v.metadata) AS bytes
            FROM memory_versions v JOIN memories m ON m.id = v.memory_id
            WHERE v.memory_id = ANY (p_memories) AND m.space_id = v_space AND (v.memory_id, v.version) > (p_memory, p_version)
            ORDER BY v.memory_id, v.version LIMIT p_limit),
        page AS (
            SELECT s.* FROM (SELECT l.memory_id, l.version, sum(l.bytes) OVER (ORDER BY l.memory_id, l.version) - l.bytes AS before FROM looked l) s
            WHERE s.before < p_bytes)
        SELECT v.memory_id, v.version, (SELECT row_to_json(x)::text FROM (SELECT
                'version' AS type, v.version, v.content, v.tags, v.metadata, v.since, v.until, v.replaced_by) x)
        FROM page p JOIN memory_versions v ON v.memory_id = p.memory_id AND v.version = p.version ORDER BY v.memory_id, v.version;
END $$;

-- A page of what somebody has said of memories up to the id p_to, after one of these; line is NULL when one of the two is not in the export.
CREATE FUNCTION robotgroups.export_relations(p_group bigint, p_source bigint, p_target bigint, p_kind text, p_to bigint, p_limit integer)
RETURNS TABLE (source bigint, target bigint, kind text, line text)
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp SET timezone = 'UTC' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE v_space bigint;
BEGIN
    SELECT g.space_id INTO v_space FROM groups g WHERE g.id = p_group;
    RETURN QUERY
        SELECT r.source, r.target, r.kind, CASE WHEN r.target <= p_to AND (a.expires_at IS NULL OR a.expires_at > now())
            AND (b.expires_at IS NULL OR b.expires_at > now()) THEN (SELECT row_to_json(x)::text FROM (SELECT
                'relation' AS type, encode(a.content_hash, 'hex') AS source, encode(b.content_hash, 'hex') AS target, r.kind, r.weight, r.created_at) x) END
        FROM relations r JOIN memories a ON a.id = r.source JOIN memories b ON b.id = r.target
        WHERE r.space_id = v_space AND r.kind <> 'tags' AND r.source <= p_to
            AND (r.source, r.target, r.kind COLLATE "C") > (p_source, p_target, p_kind COLLATE "C")
        ORDER BY r.source, r.target, r.kind COLLATE "C" LIMIT p_limit;
END $$;

-- A page of files that were loaded, each followed by its chunks, after one of these (p_position -1: the file itself). line is NULL for a chunk that is not in the export.
CREATE FUNCTION robotgroups.export_files(p_group bigint, p_file bigint, p_position integer, p_to bigint, p_limit integer)
RETURNS TABLE (file bigint, place integer, line text)
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp SET timezone = 'UTC' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE v_space bigint;
BEGIN
    SELECT g.space_id INTO v_space FROM groups g WHERE g.id = p_group;
    RETURN QUERY
        (SELECT f.id, -1, (SELECT row_to_json(x)::text FROM (SELECT
                'file' AS type, f.path, scope_json(f.scope) AS scope, encode(f.digest, 'hex') AS digest, f.front_matter, f.tags, f.metadata, f.loaded_at,
                (SELECT count(*) FROM file_chunks c WHERE c.file_id = f.id) AS chunks) x)
        FROM files f WHERE f.space_id = v_space AND f.id > p_file ORDER BY f.id LIMIT p_limit)
        UNION ALL (SELECT c.file_id, c.position, CASE WHEN m.id <= p_to AND (m.expires_at IS NULL OR m.expires_at > now()) THEN (
            SELECT row_to_json(x)::text FROM (SELECT
                'chunk' AS type, c.position, c.heading, encode(c.content_hash, 'hex') AS content_hash, encode(m.content_hash, 'hex') AS memory,
                m.created_at AS memory_created_at) x) END
        FROM files f JOIN file_chunks c ON c.file_id = f.id JOIN memories m ON m.id = c.memory_id
        WHERE f.space_id = v_space AND f.id >= p_file AND (c.file_id, c.position) > (p_file, p_position) ORDER BY c.file_id, c.position LIMIT p_limit)
        ORDER BY 1, 2 LIMIT p_limit;
END $$;

-- Import -------------------------------------------------------------------------------------------------------------------------------------------------------

CREATE TYPE robotgroups.import_item AS (
    ord integer, record jsonb, content text, tokens integer, tags text[], scope text[], hash bytea, versions jsonb, embedding text, expires_at timestamptz,
    forgotten_at timestamptz, id bigint, known boolean, alike boolean);

-- Writes down how far an import is; with no line that it has ended.
CREATE FUNCTION robotgroups.note_import(p_group bigint, p_source bytea, p_line bigint) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
BEGIN
    IF p_line IS NULL THEN
        DELETE FROM imports WHERE group_id = p_group AND source = p_source;
    ELSIF p_source IS NOT NULL THEN
        INSERT INTO imports AS i (group_id, source, line) VALUES (p_group, p_source, p_line)
            ON CONFLICT (group_id, source) DO UPDATE SET line = excluded.line, updated_at = now();
    END IF;
END $$;

-- Brings memories in as they were, each once (M2): what the group has already stays as it is, but that it takes its place in the working set if that is free.
-- p_items: [{"record": a memory's line, "tokens", "tags", "scope": ["key=value"], "versions": [{"record": a line,
-- "tokens"}], "embedding": "[...]"}]. p_model: what the embeddings are by; they are taken when the space embeds by the same. p_working_memory: whether what was
-- in the working set comes into this one, by its events and within its budget (M4). p_source and p_line: how far the import is with this (note_import).
CREATE FUNCTION robotgroups.import_memories(
    p_group bigint, p_items jsonb, p_model jsonb DEFAULT NULL, p_working_memory boolean DEFAULT true, p_source bytea DEFAULT NULL, p_line bigint DEFAULT NULL,
    OUT created integer, OUT expired integer, OUT versions integer, OUT embedded integer, OUT entered integer, OUT no_room integer,
    OUT revision bigint)
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET timezone = 'UTC' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE g groups; v_all import_item[]; v_new import_item[]; v_stale bigint[]; v_wanted bigint[] := '{}';
BEGIN
    g := lock_memory(p_group);
    v_stale := ARRAY(SELECT m.id FROM jsonb_array_elements(p_items) e
        JOIN memories m ON m.space_id = g.space_id AND m.expires_at <= now() AND m.content_hash = memory_hash(e->'record'->>'content', texts(e->'scope')));
    PERFORM remove_memories(g.space_id, p_group, v_stale, NULL, false, NULL);
    v_all := import_items(g.space_id, p_items);
    SELECT count(*) INTO expired FROM unnest(v_all) i WHERE i.expires_at <= now();
    v_all := ARRAY(SELECT i FROM unnest(v_all) i WHERE i.expires_at IS NULL OR i.expires_at > now() ORDER BY i.ord);
    v_new := ARRAY(SELECT i FROM unnest(v_all) i WHERE NOT i.known ORDER BY i.ord);
    created := cardinality(v_new);
    INSERT INTO memories (id, space_id, group_id, content, content_hash, originator, tokens, tags, metadata, scope, created_at, remembered_at, remember_count,
            access_count, last_accessed_at, version, updated_at, expires_at, forgotten_at, propositions) OVERRIDING SYSTEM VALUE
        SELECT i.id, g.space_id, p_group, i.content, i.hash, r.originator, i.tokens, i.tags, coalesce(r.metadata, '{}'), i.scope,
            least(coalesce(r.created_at, now()), now()), least(coalesce(r.remembered_at, r.created_at, now()), now()), coalesce(r.remember_count, 1),
            coalesce(r.access_count, 0), r.last_accessed_at, coalesce(r.version, 1), r.updated_at, i.expires_at, i.forgotten_at, r.propositions
        FROM unnest(v_new) i, jsonb_to_record(i.record) AS r (originator text, metadata jsonb, created_at timestamptz, remembered_at timestamptz,
            remember_count integer, access_count integer, last_accessed_at timestamptz, version integer, updated_at timestamptz, propositions text[]);
    UPDATE spaces SET imported_to = (SELECT max(i.id) FROM unnest(v_new) i) WHERE id = g.space_id AND created > 0;
    versions := import_versions(v_all);
    embedded := import_embeddings(g.space_id, v_all, p_model);
    PERFORM import_jobs(g.space_id, v_new);
    IF p_working_memory THEN
        v_wanted := ARRAY(SELECT i.id FROM unnest(v_all) i JOIN memories m ON m.id = i.id
            WHERE coalesce(i.record->'working_memory', 'null') <> 'null' AND m.forgotten_at IS NULL
                AND NOT EXISTS (SELECT FROM working_memory w WHERE w.group_id = p_group AND w.memory_id = i.id) ORDER BY i.ord);
    END IF;
    PERFORM tell_added(p_group, ARRAY(SELECT i.id FROM unnest(v_new) i WHERE NOT i.id = ANY (v_wanted) ORDER BY i.id));
    SELECT * INTO entered, no_room FROM import_places(p_group, v_all, v_wanted);
    PERFORM note_import(p_group, p_source, p_line);
    SELECT x.revision INTO revision FROM groups x WHERE x.id = p_group;
END $$;

CREATE FUNCTION robotgroups.texts(p_array jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY(SELECT jsonb_array_elements_text(coalesce(nullif(p_array, 'null'), '[]'))) $$;

-- The items of a batch, each content of a scope once, with the id that it has in the space or gets now. alike: the memory that is there is this one, and has not
-- been changed since.
CREATE FUNCTION robotgroups.import_items(p_space bigint, p_items jsonb) RETURNS robotgroups.import_item[]
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET timezone = 'UTC' SET enable_seqscan = off AS $$
BEGIN
    RETURN ARRAY(SELECT ROW(x.ord, x.record, x.content, coalesce(m.tokens, x.tokens), x.tags, x.scope, x.hash, x.versions, x.embedding,
            (x.record->>'expires_at')::timestamptz, (x.record->>'forgotten_at')::timestamptz, coalesce(m.id, nextval('memories_id_seq')), m.id IS NOT NULL,
            m.id IS NULL OR (m.version, m.created_at, m.updated_at) IS NOT DISTINCT FROM
                (coalesce((x.record->>'version')::integer, 1), (x.record->>'created_at')::timestamptz, (x.record->>'updated_at')::timestamptz))::import_item
        FROM (SELECT DISTINCT ON (h.hash) h.* FROM (
                SELECT e.ordinality::integer AS ord, e.record, e.record->>'content' AS content, greatest(e.tokens, 0) AS tokens, coalesce(e.tags, '{}') AS tags,
                    coalesce(e.scope, '{}') AS scope, memory_hash(e.record->>'content', coalesce(e.scope, '{}')) AS hash, e.versions, e.embedding
                FROM ROWS FROM (jsonb_to_recordset(p_items) AS (record jsonb, tokens integer, tags text[], scope text[], versions jsonb, embedding text))
                    WITH ORDINALITY e) h
            ORDER BY h.hash, h.ord) x
        LEFT JOIN memories m ON m.space_id = p_space AND m.content_hash = x.hash ORDER BY x.ord);
END $$;

-- The history of memories that came in, or are there unchanged; returns how much of it is new.
CREATE FUNCTION robotgroups.import_versions(p_items robotgroups.import_item[]) RETURNS integer
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE v_count integer;
BEGIN
    INSERT INTO memory_versions (memory_id, version, content, tokens, tags, metadata, since, until, replaced_by)
        SELECT i.id, r.version, r.content, (v->>'tokens')::integer, coalesce(r.tags, '{}'), coalesce(r.metadata, '{}'), r.since, r.until, r.replaced_by
        FROM unnest(p_items) i, jsonb_array_elements(coalesce(nullif(i.versions, 'null'), '[]')) v, jsonb_to_record(v->'record') AS r (
            version integer, content text, tags text[], metadata jsonb, since timestamptz, until timestamptz, replaced_by text)
        WHERE i.alike AND r.version < coalesce((i.record->>'version')::integer, 1)
        ON CONFLICT (memory_id, version) DO NOTHING;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- The vectors of memories that came in, or are there unchanged, when the space embeds by the model that they are by; returns how many. These wait for no
-- embedding then.
CREATE FUNCTION robotgroups.import_embeddings(p_space bigint, p_items robotgroups.import_item[], p_model jsonb) RETURNS integer
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE x embedding_models; v_count integer;
BEGIN
    SELECT e.* INTO x FROM spaces s JOIN embedding_models e ON e.id = s.target_model WHERE s.id = p_space
        AND (e.provider, e.model, e.dimensions) = (p_model->>'provider', p_model->>'model', (p_model->>'dimensions')::integer);
    IF NOT FOUND THEN RETURN 0; END IF;
    INSERT INTO embeddings (model_id, memory_id, embedding, half)
        SELECT x.id, i.id, CASE WHEN x.dimensions <= 2000 THEN i.embedding::public.vector END,
            CASE WHEN x.dimensions > 2000 THEN i.embedding::public.halfvec END
        FROM unnest(p_items) i WHERE i.alike AND i.embedding IS NOT NULL ORDER BY i.id
        ON CONFLICT (model_id, memory_id) DO NOTHING;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    DELETE FROM jobs WHERE id IN (
        SELECT j.id FROM jobs j WHERE j.kind IN ('embed', 'backfill') AND j.memory_id IN (
            SELECT e.memory_id FROM unnest(p_items) i JOIN embeddings e ON e.model_id = x.id AND e.memory_id = i.id WHERE i.known)
        ORDER BY j.memory_id, j.kind FOR UPDATE);
    RETURN v_count;
END $$;

-- What is to be done in the background with memories that came in: as with those that are remembered, less what they have brought along.
CREATE FUNCTION robotgroups.import_jobs(p_space bigint, p_items robotgroups.import_item[]) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_model bigint; v_kinds text[] := jobs_for(p_space);
BEGIN
    SELECT target_model INTO v_model FROM spaces WHERE id = p_space;
    INSERT INTO jobs (space_id, memory_id, kind, not_before)
        SELECT p_space, i.id, k.kind, CASE WHEN i.forgotten_at IS NULL OR k.kind = 'relate' THEN now() ELSE 'infinity' END
        FROM unnest(p_items) i, unnest(v_kinds || '{relate}') k(kind)
        WHERE CASE k.kind WHEN 'relate' THEN i.tags <> '{}' WHEN 'tags' THEN i.tags = '{}'
            WHEN 'propositions' THEN coalesce(i.record->'propositions', 'null') = 'null'
            ELSE NOT EXISTS (SELECT FROM embeddings e WHERE e.model_id = v_model AND e.memory_id = i.id) END
        ORDER BY i.id, k.kind ON CONFLICT (memory_id, kind) DO NOTHING;
END $$;

-- Tells a group's feed of new memories that are in long-term memory alone, each by an event.
CREATE FUNCTION robotgroups.tell_added(p_group bigint, p_memories bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    IF p_memories = '{}' THEN RETURN; END IF;
    WITH counted AS (UPDATE groups SET revision = revision + cardinality(p_memories) WHERE id = p_group RETURNING revision, epoch)
    INSERT INTO changes (group_id, revision, kind, epoch, memory_id, payload)
        SELECT p_group, c.revision - cardinality(p_memories) + i.place, 'added', c.epoch, m.id, memory_json(m, NULL)
        FROM counted c, unnest(p_memories) WITH ORDINALITY i(id, place) JOIN memories m ON m.id = i.id;
    PERFORM announce(p_group, (SELECT revision FROM groups WHERE id = p_group));
END $$;

-- Gives memories the places in the working set that they had, evicting first (M4), each by its event; one for which there is no room beside what is pinned stays
-- in long-term memory. What the group has already takes no other's place: to import twice changes nothing.
CREATE FUNCTION robotgroups.import_places(p_group bigint, p_items robotgroups.import_item[], p_wanted bigint[], OUT entered integer, OUT no_room integer)
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE i import_item; g groups; m memories; w working_memory;
BEGIN
    entered := 0; no_room := 0;
    DELETE FROM rankings WHERE group_id = p_group;
    FOREACH i IN ARRAY p_items LOOP
        CONTINUE WHEN NOT i.id = ANY (p_wanted);
        SELECT * INTO m FROM memories WHERE id = i.id;
        SELECT * INTO g FROM groups WHERE id = p_group;
        CONTINUE WHEN i.known AND m.tokens > g.max_tokens - g.working_memory_tokens;
        IF m.tokens > g.max_tokens - g.pinned_tokens THEN
            no_room := no_room + 1;
            PERFORM append_change(p_group, 'added', m.id, NULL, memory_json(m, NULL));
            CONTINUE;
        END IF;
        w := jsonb_populate_record(NULL::working_memory, i.record->'working_memory');
        PERFORM evict(p_group, g.working_memory_tokens + m.tokens - g.max_tokens, '{}');
        UPDATE groups SET working_memory_nodes = working_memory_nodes + 1, working_memory_tokens = working_memory_tokens + m.tokens, slots = slots + 1,
            pinned_tokens = pinned_tokens + CASE WHEN w.pinned THEN m.tokens ELSE 0 END WHERE id = p_group RETURNING * INTO g;
        INSERT INTO working_memory (group_id, slot, memory_id, tokens, keeper, added_at, access_count, last_accessed_at, pinned)
            VALUES (p_group, g.slots, m.id, m.tokens, coalesce(w.keeper, m.originator), least(coalesce(w.added_at, now()), now()), coalesce(w.access_count, 0),
                least(coalesce(w.last_accessed_at, w.added_at, now()), now()), coalesce(w.pinned, false)) RETURNING * INTO w;
        PERFORM append_change(p_group, 'added', m.id, NULL, memory_json(m, w));
        entered := entered + 1;
    END LOOP;
END $$;

-- Brings in what somebody has said of memories: [{"source": hash, "target": hash, "kind", "weight", "created_at"}]; what is said already stays as it is.
-- missing: how many name a memory that is not there.
CREATE FUNCTION robotgroups.import_relations(p_group bigint, p_items jsonb, p_source bytea DEFAULT NULL, p_line bigint DEFAULT NULL,
    OUT created integer, OUT missing integer)
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET timezone = 'UTC' SET enable_seqscan = off AS $$
DECLARE g groups;
BEGIN
    g := lock_memory(p_group);
    WITH items AS MATERIALIZED (
        SELECT a.id AS source, b.id AS target, r.kind, r.weight, r.created_at
        FROM jsonb_to_recordset(p_items) AS r (source text, target text, kind text, weight real, created_at timestamptz)
        LEFT JOIN memories a ON a.space_id = g.space_id AND a.content_hash = decode(r.source, 'hex')
        LEFT JOIN memories b ON b.space_id = g.space_id AND b.content_hash = decode(r.target, 'hex')),
    said AS (
        INSERT INTO relations (source, target, kind, space_id, weight, created_at)
            SELECT i.source, i.target, i.kind, g.space_id, i.weight, least(coalesce(i.created_at, now()), now()) FROM items i
            WHERE i.source <> i.target ORDER BY i.source, i.target, i.kind
            ON CONFLICT (source, target, kind) DO NOTHING RETURNING 1)
    SELECT (SELECT count(*) FROM said), count(*) FILTER (WHERE i.source IS NULL OR i.target IS NULL) INTO created, missing FROM items i;
    PERFORM note_import(p_group, p_source, p_line);
END $$;

-- Brings in which files were loaded: [{"record": a file's line, "scope": ["key=value"], "chunks": [{"record": a chunk's line}]}]; a file that is there already stays as it is.
-- partial: how many lack a chunk: they have no digest then, and are taken in full when they are loaded the next time.
CREATE FUNCTION robotgroups.import_files(p_group bigint, p_items jsonb, p_source bytea DEFAULT NULL, p_line bigint DEFAULT NULL,
    OUT created integer, OUT partial integer)
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET timezone = 'UTC' SET enable_seqscan = off AS $$
DECLARE g groups; v_item jsonb; v_scope text[]; v_file bigint; v_others bigint[]; v_count integer;
BEGIN
    g := lock_memory(p_group);
    created := 0; partial := 0;
    FOR v_item IN SELECT e FROM jsonb_array_elements(p_items) e LOOP
        v_scope := texts(v_item->'scope');
        CONTINUE WHEN EXISTS (SELECT FROM files f WHERE f.space_id = g.space_id AND memory_hash(f.path, f.scope) = memory_hash(v_item->'record'->>'path', v_scope));
        INSERT INTO files (space_id, path, scope, digest, front_matter, tags, metadata, loaded_at)
            SELECT g.space_id, r.path, v_scope, decode(r.digest, 'hex'), coalesce(r.front_matter, '{}'), coalesce(r.tags, '{}'), coalesce(r.metadata, '{}'),
                least(coalesce(r.loaded_at, now()), now())
            FROM jsonb_to_record(v_item->'record') AS r (path text, digest text, front_matter jsonb, tags text[], metadata jsonb, loaded_at timestamptz)
            RETURNING id INTO v_file;
        WITH chunks AS (
            INSERT INTO file_chunks (file_id, position, memory_id, heading, content_hash)
                SELECT v_file, r.position, m.id, coalesce(r.heading, '{}'), decode(r.content_hash, 'hex')
                FROM jsonb_array_elements(v_item->'chunks') c, jsonb_to_record(c->'record') AS r (position integer, heading text[], content_hash text, memory text)
                JOIN memories m ON m.space_id = g.space_id AND m.content_hash = decode(r.memory, 'hex')
                RETURNING memory_id, position),
        -- who says a memory that did not come with the file does not say it for the file, too
        others AS (
            UPDATE memories m SET remember_count = m.remember_count + 1 FROM chunks k, jsonb_array_elements(v_item->'chunks') c
            WHERE m.id = k.memory_id AND (c->'record'->>'position')::integer = k.position
                AND m.created_at IS DISTINCT FROM (c->'record'->>'memory_created_at')::timestamptz RETURNING m.id)
        SELECT (SELECT count(*) FROM chunks), coalesce(array_agg(o.id ORDER BY o.id), '{}') INTO v_count, v_others FROM others o;
        PERFORM tell_changed(p_group, v_others, NULL);
        created := created + 1;
        IF v_count < (v_item->'record'->>'chunks')::integer THEN
            UPDATE files SET digest = '' WHERE id = v_file;
            partial := partial + 1;
        END IF;
    END LOOP;
    PERFORM note_import(p_group, p_source, p_line);
END $$;

-- Up to p_limit of the memories that a group has too many: of those that it brought in, the ones that it has not remembered for longest. Pinned ones stay without
-- another going in their place. Who was remembered for the first time later than such a one for the last time cannot be older: it reads those with the lowest ids,
-- twice as many each time until that is certain of all. Ids tell no age of
-- memories that came in by an import: it reads all of these.
CREATE FUNCTION robotgroups.surplus(g robotgroups.groups, p_pinned bigint[], p_limit integer) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE s spaces; v_many bigint; v_window bigint; v_seen bigint; v_sure bigint; v_ids bigint[];
BEGIN
    SELECT * INTO s FROM spaces WHERE id = g.space_id;
    IF s.name IS NULL THEN
        SELECT count(*) - g.keep_memories INTO v_many FROM memories m WHERE m.space_id = g.space_id;  -- from the index alone
    ELSE
        SELECT count(*) - g.keep_memories INTO v_many FROM memories m WHERE m.space_id = g.space_id AND m.group_id = g.id;
    END IF;
    IF v_many <= 0 THEN RETURN '{}'; END IF;
    v_many := least(v_many, p_limit + cardinality(p_pinned));
    v_window := greatest(v_many + p_limit, (SELECT count(*) FROM memories m WHERE m.space_id = g.space_id AND m.group_id = g.id AND m.id <= s.imported_to));
    LOOP
        WITH looked AS (SELECT m.id, m.remembered_at, m.created_at FROM memories m WHERE m.space_id = g.space_id AND m.group_id = g.id ORDER BY m.id LIMIT v_window),
        old AS (SELECT l.id, l.remembered_at, l.remembered_at <= (SELECT max(x.created_at) FROM looked x) AS sure FROM looked l ORDER BY l.remembered_at, l.id LIMIT v_many)
        SELECT (SELECT count(*) FROM looked), count(*) FILTER (WHERE o.sure),
            ARRAY(SELECT c.id FROM old c WHERE NOT c.id = ANY (p_pinned) ORDER BY c.remembered_at, c.id LIMIT p_limit) INTO v_seen, v_sure, v_ids FROM old o;
        EXIT WHEN v_sure = v_many OR v_seen < v_window;
        v_window := v_window * 2;
    END LOOP;
    RETURN v_ids;
END $$;

REVOKE ALL ON robotgroups.imports FROM PUBLIC, robotgroups_robot;
DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('export_header', 'export_memories', 'export_versions', 'export_relations', 'export_files', 'note_import',
            'import_memories', 'texts', 'import_items', 'import_versions', 'import_embeddings', 'import_jobs', 'tell_added', 'import_places', 'import_relations',
            'import_files', 'surplus')
    LOOP EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f); END LOOP;
END $$;
