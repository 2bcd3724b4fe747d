-- What was found wrong with remembering again, with what comes into the working set, with relations and with languages. Signatures stay: robots of the version before
-- call these functions while the database migrates.

-- A space has one language, as it has one embedding: the one that was changed last. Which one each of its groups names stays written down. It is here
-- because whoever writes locks groups before relations, as this does.
ALTER TABLE robotgroups.groups ADD COLUMN named_language text;
COMMENT ON COLUMN robotgroups.groups.language IS 'in which the memories of its space are searched';
COMMENT ON COLUMN robotgroups.groups.named_language IS 'the language that the group itself names, where its space has another one';

-- Remembering again ---------------------------------------------------------------------------------------------------------------------------------------------

-- Of two expiries the later one; none (NULL) is later than any. Plain SQL without settings of its own, so that it is inlined.
CREATE FUNCTION robotgroups.later_expiry(p_one timestamptz, p_other timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN p_one IS NOT NULL AND p_other IS NOT NULL THEN greatest(p_one, p_other) END $$;

-- Why a memory that has p_tags and p_metadata cannot come to have p_all_tags and p_all_metadata: they are more than a memory may have. NULL: it can. What it has
-- already, or is given in one piece, is no reason: memories of before may have more, and jsonb writes some numbers longer than they were sent.
CREATE FUNCTION robotgroups.merge_fault(
    p_memory bigint, p_tags text[], p_metadata jsonb, p_all_tags text[], p_all_metadata jsonb, p_given_tags text[], p_given_metadata jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = robotgroups, pg_temp AS $$
DECLARE v_size bigint;
BEGIN
    IF cardinality(p_all_tags) > 64 THEN
        v_size := (SELECT count(DISTINCT t) FROM unnest(p_all_tags) t);
        IF v_size > greatest(64, cardinality(p_tags), cardinality(p_given_tags)) THEN
            RETURN format('tags: memory %s says this already, and would have %s tags with these; a memory may have 64: untag it first, or give it fewer',
                p_memory, v_size);
        END IF;
    END IF;
    v_size := octet_length(p_all_metadata::text);
    IF v_size > 65536 AND v_size > greatest(octet_length(p_metadata::text), octet_length(p_given_metadata::text)) THEN
        RETURN format('metadata: memory %s says this already, and would have %s bytes of JSON with this; a memory may have 65536: update it with less, or give it less',
            p_memory, v_size);
    END IF;
    RETURN NULL;
END $$;

-- Of the memories of a space that have one of these hashes, removes those that have expired: they are as good as gone. All of them are locked, in the order of their ids:
-- the caller changes the others, and relations lead from the one to the other.
CREATE FUNCTION robotgroups.remove_expired(p_space bigint, p_group bigint, p_hashes bytea[], p_robot text) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM FROM memories m WHERE m.content_hash = ANY (p_hashes) AND m.space_id IS NOT DISTINCT FROM p_space ORDER BY m.id FOR NO KEY UPDATE;
    PERFORM remove_memories(p_space, p_group, ARRAY(SELECT m.id FROM memories m
        WHERE m.content_hash = ANY (p_hashes) AND m.space_id IS NOT DISTINCT FROM p_space AND m.expires_at <= now()), p_robot, false, NULL);
END $$;

-- Remembers many at once, each once (M2): the same content in the same scope, or the same key, is one memory. No two items may be the same: whoever gathers
-- them sees to that. p_items: [{"content", "tokens", "originator", "tags", "metadata", "scope": ["key=value"], "key", "expires_at"}].
-- Durable when it returns in autocommit (M1). An item that is refused has its SQLSTATE in "error" and does not hinder the others.
-- What was there before gets the item's tags and metadata besides its own, as far as the limits of a memory go, and the later of both expiries; what has expired
-- is not there any more, swept or not.
-- What a full working set has to let go is decided once for all of them, and is never one of them; what comes in takes its places.
-- at: its created_at, if it is new. evicted: who left for it and those that follow, in the revisions before its own. With them a cache needs no reading of the feed.
-- It is one function with few statements on purpose: each costs more than the work on a memory does.
CREATE OR REPLACE FUNCTION robotgroups.remember_batch(p_group bigint, p_robot text, p_tenure bigint, p_items jsonb)
RETURNS TABLE (ord integer, id bigint, revision bigint, epoch bigint, created boolean, in_working_memory boolean, error text, message text,
    at timestamptz, evicted bigint[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC'
    -- a plan that was made while the tables were small shall not scan them once they are large
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
    g groups; v_robot text := p_robot; v_all remember_item[]; v_items remember_item[]; v_enter remember_item[]; v_shared boolean; v_fenced boolean;
    v_errors boolean; v_keys boolean; v_stale boolean; v_known boolean; v_tagged boolean; v_ends boolean; v_total bigint; v_room integer; v_at integer := 1; v_end integer;
    v_held bigint[]; v_gone bigint[]; v_slots integer[]; v_freed integer; v_base bigint; v_entered integer; v_jobs text[]; v_used integer; v_need integer;
BEGIN
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN PERFORM set_config('synchronous_commit', 'on', true); END IF;  -- M1
    -- what mostly is so: a group with a space of its own, and its own login
    SELECT x.* INTO g FROM groups x WHERE x.id = p_group AND session_user IN (x.login, current_user) AND NOT x.shares FOR NO KEY UPDATE;
    v_shared := NOT FOUND;
    IF v_shared THEN
        PERFORM assert_may_use(p_group);
        g := lock_memory(p_group);
        v_shared := g.shares;
    END IF;
    IF p_tenure IS NULL THEN v_robot := fence(p_group, p_robot, p_tenure); END IF;
    v_room := g.max_tokens - g.pinned_tokens;
    -- the lock of the group (or space) keeps everybody else from remembering: what is not found now is new, and gets its id here
    SELECT array_agg(ROW(y.ord, y.content, y.tokens, y.originator, y.tags, y.metadata, y.scope, y.key, y.expires_at, y.hash, y.id, y.known,
                CASE WHEN y.fault IS NOT NULL THEN 'RG012' WHEN y.stranger THEN 'RG003' END,
                coalesce(y.fault, CASE WHEN y.stranger THEN format('originator %s is no member of group %s', y.originator, g.name) END))::remember_item),
            sum(y.tokens), bool_or(y.key IS NOT NULL), bool_or(y.fault IS NOT NULL OR y.stranger), bool_or(y.known), bool_or(y.stale),
            bool_or(y.tags <> '{}'), bool_or(y.expires_at IS NOT NULL), p_tenure IS NULL OR EXISTS (
                SELECT FROM robots f WHERE f.group_id = p_group AND f.name = p_robot AND f.role = 'active' AND f.tenure = p_tenure)
        INTO v_all, v_total, v_keys, v_errors, v_known, v_stale, v_tagged, v_ends, v_fenced
        FROM (SELECT x.ord, x.content, coalesce(m.tokens, x.tokens) AS tokens, x.originator, x.tags, x.metadata, x.scope, x.key, x.expires_at, x.hash,
                coalesce(m.id, nextval('memories_id_seq')) AS id, m.id IS NOT NULL AS known, o.id IS NOT NULL AND m.id IS NULL AS stale, r.name IS NULL AS stranger,
                CASE WHEN x.blank THEN 'content must not be blank'
                    WHEN x.bytes > 262144 THEN format('content is too large: it has %s bytes of UTF-8, a memory may have 262144: split it', x.bytes)
                    WHEN x.expires_at <= now() THEN format('expires_at %s is not in the future', x.expires_at)
                    WHEN x.expires_at >= '10000-01-01' THEN format('expires_at %s is after the year 9999', x.expires_at)
                    WHEN m.id IS NOT NULL AND (x.tags <> '{}' OR x.metadata <> '{}') THEN merge_fault(o.id, o.tags, o.metadata, o.tags || x.tags, o.metadata || x.metadata, x.tags, x.metadata)
                    END AS fault
            FROM (SELECT j.ordinality::integer AS ord, j.content, greatest(j.tokens, 0) AS tokens, coalesce(j.originator, v_robot) AS originator,
                    coalesce(j.tags, '{}') AS tags, coalesce(j.metadata, '{}') AS metadata, coalesce(j.scope, '{}') AS scope, j.key, j.expires_at,
                    memory_hash(j.content, coalesce(j.scope, '{}')) AS hash, coalesce(j.content !~ '\S', true) AS blank,
                    octet_length(j.content) AS bytes
                FROM ROWS FROM (jsonb_to_recordset(p_items) AS (content text, tokens integer, originator text, tags text[], metadata jsonb,
                    scope text[], key text, expires_at timestamptz)) WITH ORDINALITY j ORDER BY j.ordinality) x
            -- not "=": it would let a plan made while the space was small read all of the space for each item (index memories_space)
            LEFT JOIN memories o ON o.content_hash = x.hash AND o.space_id IS NOT DISTINCT FROM g.space_id
            -- what has expired is as good as gone
            CROSS JOIN LATERAL (SELECT CASE WHEN o.expires_at <= now() THEN NULL ELSE o.id END, CASE WHEN o.expires_at <= now() THEN NULL ELSE o.tokens END) m(id, tokens)
            LEFT JOIN robots r ON r.group_id = p_group AND r.name = x.originator OFFSET 0) y;
    IF NOT v_fenced THEN PERFORM fence(p_group, p_robot, p_tenure); END IF;  -- R2: says who is active
    IF v_ends THEN p_items := NULL; END IF;  -- the feed tells times, however they were written
    IF v_keys THEN
        -- what was acknowledged before is answered again, even when its originator has left meanwhile
        RETURN QUERY SELECT x.ord, k.memory_id, k.revision, k.epoch, k.created, k.in_working_memory,
                CASE WHEN k.content_hash <> x.hash THEN 'RG008' END,
                CASE WHEN k.content_hash <> x.hash THEN format('idempotency key %s was used with other content', x.key) END, NULL::timestamptz, NULL::bigint[]
            -- OFFSET 0: each key by itself, whatever plan was made while the group had none
            FROM unnest(v_all) x CROSS JOIN LATERAL (SELECT * FROM idempotency_keys y WHERE y.group_id = p_group AND y.key = x.key OFFSET 0) k;
        IF FOUND THEN
            p_items := NULL;
            v_all := ARRAY(SELECT x FROM unnest(v_all) x
                WHERE NOT EXISTS (SELECT FROM idempotency_keys k WHERE k.group_id = p_group AND k.key = x.key) ORDER BY x.ord);
        END IF;
    END IF;
    IF v_errors THEN
        RETURN QUERY SELECT x.ord, NULL::bigint, NULL::bigint, NULL::bigint, NULL::boolean, NULL::boolean, x.error, x.message, NULL::timestamptz, NULL::bigint[]
            FROM unnest(v_all) x WHERE x.error IS NOT NULL;
        p_items := NULL;
        v_all := ARRAY(SELECT x FROM unnest(v_all) x WHERE x.error IS NULL ORDER BY x.ord);
    END IF;
    IF v_stale THEN
        PERFORM remove_expired(g.space_id, p_group, ARRAY(SELECT x.hash FROM unnest(v_all) x), v_robot);
        SELECT x.* INTO g FROM groups x WHERE x.id = p_group;
        v_room := g.max_tokens - g.pinned_tokens;
    END IF;
    WHILE v_at <= cardinality(v_all) LOOP
        -- M4 at every revision: as many at a time as the working set can hold beside what is pinned; mostly that is all
        IF v_at = 1 AND v_total <= v_room THEN
            v_items := v_all; v_enter := v_all; v_entered := v_total; v_end := cardinality(v_all);
        ELSE
            p_items := NULL; v_end := v_at; v_entered := v_all[v_at].tokens;
            WHILE v_end < cardinality(v_all) AND v_entered + v_all[v_end + 1].tokens <= v_room LOOP
                v_end := v_end + 1; v_entered := v_entered + v_all[v_end].tokens;
            END LOOP;
            v_items := v_all[v_at:v_end]; v_enter := v_items;
            IF v_entered > v_room THEN v_enter := '{}'; v_entered := 0; END IF;
        END IF;
        v_at := v_end + 1; v_held := '{}'; v_gone := '{}'; v_slots := '{}'; v_freed := 0; v_used := g.ranking_used;
        IF v_known THEN
            UPDATE memories m SET remember_count = m.remember_count + 1, remembered_at = now(), forgotten_at = NULL,
                    tags = (SELECT coalesce(array_agg(DISTINCT t ORDER BY t), '{}') FROM unnest(m.tags || i.tags) t),
                    metadata = m.metadata || i.metadata, expires_at = later_expiry(m.expires_at, i.expires_at)
                FROM unnest(v_items) i WHERE i.known AND m.id = i.id;
            WITH touched AS (
                UPDATE working_memory w SET access_count = w.access_count + 1, last_accessed_at = now()
                WHERE w.group_id = p_group AND w.memory_id IN (SELECT i.id FROM unnest(v_items) i WHERE i.known) RETURNING w.memory_id)
            SELECT coalesce(array_agg(t.memory_id), '{}') INTO v_held FROM touched t;
            -- what is held and pinned may have no room beside what is pinned: it was not among those that enter, and frees nothing
            SELECT coalesce(array_agg(i ORDER BY i.ord), '{}'), coalesce(sum(i.tokens), 0) INTO v_enter, v_entered
                FROM unnest(v_enter) i WHERE NOT i.id = ANY (v_held);
        END IF;
        IF g.working_memory_tokens + v_entered > g.max_tokens THEN
            v_need := g.working_memory_tokens + v_entered - g.max_tokens;
            -- by the ranking, if it still stands: none of those who leave was accessed, pinned, changed or taken out since
            SELECT r.memories[v_used + 1:e.i], r.slots[v_used + 1:e.i], r.sums[e.i] - b.sum, e.i INTO v_gone, v_slots, v_freed, v_used
                FROM rankings r, LATERAL (SELECT CASE WHEN v_used > 0 THEN r.sums[v_used] ELSE 0 END) b(sum),
                    LATERAL (SELECT s.i FROM generate_series(v_used + 1, cardinality(r.sums)) s(i) WHERE r.sums[s.i] - b.sum >= v_need LIMIT 1) e
                WHERE r.group_id = p_group AND v_held = '{}' AND r.policy = g.eviction AND r.ranked_at BETWEEN now() - interval '1 minute' AND now()
                    AND (SELECT (count(*), sum(w.tokens)) = (e.i - v_used, r.sums[e.i] - b.sum) FROM working_memory w
                        WHERE w.group_id = p_group AND w.slot = ANY (r.slots[v_used + 1:e.i]) AND w.memory_id = ANY (r.memories[v_used + 1:e.i]) AND NOT w.pinned
                            AND w.last_accessed_at <= r.ranked_at);
            IF NOT FOUND THEN
                SELECT n.* INTO v_gone, v_slots, v_freed FROM rank(g, v_need, v_held) n;
                v_used := 0;
            END IF;
        END IF;
        v_base := g.revision + cardinality(v_gone);
        WITH stored AS (
            INSERT INTO memories (id, space_id, group_id, content, content_hash, originator, tokens, tags, metadata, scope, expires_at)
                OVERRIDING SYSTEM VALUE
                SELECT i.id, g.space_id, p_group, i.content, i.hash, i.originator, i.tokens, i.tags, i.metadata, i.scope, i.expires_at
                FROM unnest(v_items) i WHERE NOT i.known),
        placed AS (
            -- no join: a plan made while the working set was small would read all of it for each
            UPDATE working_memory w SET memory_id = v_enter[array_position(v_slots, w.slot)].id, tokens = v_enter[array_position(v_slots, w.slot)].tokens,
                    keeper = v_enter[array_position(v_slots, w.slot)].originator, added_at = now(), access_count = 0, last_accessed_at = now(), pinned = false
                WHERE w.group_id = p_group AND w.slot = ANY (v_slots[:cardinality(v_enter)])),
        logged AS (
            INSERT INTO changes (group_id, revision, kind, epoch, memory_ids, robot, payload)
                SELECT p_group, v_base, 'evicted', g.epoch, v_gone, NULL, '{}' WHERE v_gone <> '{}'
                -- the items as they were sent say all that changes_after has to tell of each
                UNION ALL SELECT p_group, v_base + cardinality(v_items), 'added', g.epoch, ARRAY(SELECT i.id FROM unnest(v_items) i), v_robot,
                    jsonb_build_object('room', v_room, 'items', coalesce(p_items, (SELECT jsonb_agg(to_jsonb(i) - '{ord,hash,id,known,error,message,key}'::text[])
                        FROM unnest(v_items) i))) WHERE NOT v_known)
        INSERT INTO working_memory (group_id, slot, memory_id, tokens, keeper)
            SELECT p_group, g.slots + i.n, i.id, i.tokens, i.originator
            FROM unnest(v_enter[cardinality(v_slots) + 1:]) WITH ORDINALITY i(ord, content, tokens, originator, tags, metadata, scope, key, expires_at, hash, id, known, error, message, n);
        IF cardinality(v_enter) < cardinality(v_slots) THEN
            DELETE FROM working_memory w WHERE w.group_id = p_group AND w.slot = ANY (v_slots[cardinality(v_enter) + 1:]);
        END IF;
        UPDATE groups x SET revision = v_base + cardinality(v_items), working_memory_nodes = g.working_memory_nodes - cardinality(v_gone) + cardinality(v_enter),
            working_memory_tokens = g.working_memory_tokens - v_freed + v_entered,
            slots = g.slots + greatest(cardinality(v_enter) - cardinality(v_slots), 0), ranking_used = v_used WHERE x.id = p_group;
        IF v_known THEN
            INSERT INTO changes (group_id, revision, kind, epoch, memory_id, robot, payload)
                SELECT p_group, v_base + i.place, CASE WHEN i.id = ANY (v_held) THEN 'updated' ELSE 'added' END, g.epoch, i.id, i.originator, memory_json(m, w)
                FROM unnest(v_items) WITH ORDINALITY i(ord, content, tokens, originator, tags, metadata, scope, key, expires_at, hash, id, known, error, message, place)
                JOIN memories m ON m.id = i.id LEFT JOIN working_memory w ON w.group_id = p_group AND w.memory_id = i.id;
            IF v_shared THEN PERFORM tell_other_groups(p_group, ARRAY(SELECT i.id FROM unnest(v_items) i WHERE i.known), v_robot); END IF;
        END IF;
        IF v_keys THEN
            INSERT INTO idempotency_keys (group_id, key, content_hash, memory_id, revision, epoch, created, in_working_memory)
                SELECT p_group, i.key, i.hash, i.id, v_base + i.place, g.epoch, NOT i.known, i.tokens <= v_room OR i.id = ANY (v_held)
                FROM unnest(v_items) WITH ORDINALITY i(ord, content, tokens, originator, tags, metadata, scope, key, expires_at, hash, id, known, error, message, place) WHERE i.key IS NOT NULL;
        END IF;
        v_jobs := CASE WHEN v_shared THEN jobs_for(g.space_id) ELSE jobs_of(g.embedding, g.extraction) END;
        IF v_tagged OR v_jobs <> '{}' THEN
            INSERT INTO jobs (space_id, memory_id, kind)
                SELECT g.space_id, i.id, k.kind
                FROM unnest(v_items) i, unnest(v_jobs || CASE WHEN i.tags <> '{}' THEN ARRAY['relate'] ELSE '{}' END) k(kind)
                WHERE NOT i.known OR k.kind = 'relate'
                ON CONFLICT (memory_id, kind) DO NOTHING;
        END IF;
        RETURN QUERY SELECT i.ord, i.id, v_base + i.place, g.epoch, NOT i.known, i.tokens <= v_room OR i.id = ANY (v_held), NULL::text, NULL::text,
                CASE WHEN NOT i.known THEN now() END, CASE WHEN i.place = 1 THEN v_gone END
            FROM unnest(v_items) WITH ORDINALITY i(ord, content, tokens, originator, tags, metadata, scope, key, expires_at, hash, id, known, error, message, place);
        g.revision := v_base + cardinality(v_items);
        IF v_at <= cardinality(v_all) THEN SELECT x.* INTO g FROM groups x WHERE x.id = p_group; END IF;
    END LOOP;
    IF v_at > 1 THEN PERFORM announce(p_group, g.revision); END IF;
END $$;

-- Brings chunks that are memories already up to date: those that were this file's before with what has changed in its tags and metadata, the others as somebody's
-- who says the same. The file's rows of chunks are not there meanwhile. Returns how many of the first kind have changed. A memory that would have more tags or
-- metadata than it may refuses the file.
CREATE OR REPLACE FUNCTION robotgroups.refresh_chunks(
    g robotgroups.groups, o robotgroups.files, f robotgroups.files, p_chunks robotgroups.chunk[], p_stored robotgroups.file_chunks[], p_robot text) RETURNS integer
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_told bigint[]; v_retagged bigint[]; v_kept integer; v_fault text;
BEGIN
    WITH wanted AS (
        SELECT m.id, m.tags AS has_tags, m.metadata AS has_metadata, c.kept, chunk_metadata(f, c.heading) AS given, merged_tags(m.tags, CASE WHEN c.kept THEN o.tags ELSE '{}' END, f.tags, x.tags) AS tags,
            merged_metadata(m.metadata, CASE WHEN c.kept THEN chunk_metadata(o, s.heading) ELSE '{}' END, chunk_metadata(f, c.heading), x.metadata) AS metadata
        FROM unnest(p_chunks) c JOIN memories m ON m.id = c.id LEFT JOIN unnest(p_stored) s ON s.memory_id = c.id, given_by_files(c.id) x
        WHERE c.known ORDER BY m.id),
    changed AS (
        UPDATE memories m SET tags = w.tags, metadata = w.metadata,
            remember_count = CASE WHEN w.kept THEN m.remember_count ELSE m.remember_count + 1 END,
            remembered_at = CASE WHEN w.kept THEN m.remembered_at ELSE now() END,
            forgotten_at = CASE WHEN w.kept THEN m.forgotten_at END,
            expires_at = CASE WHEN w.kept THEN m.expires_at END
        FROM wanted w JOIN memories x ON x.id = w.id
        WHERE m.id = w.id AND (NOT w.kept OR (m.tags, m.metadata) IS DISTINCT FROM (w.tags, w.metadata)) RETURNING m.id, w.kept, m.tags <> x.tags AS retagged)
    SELECT coalesce(array_agg(c.id ORDER BY c.id), '{}'), coalesce(array_agg(c.id) FILTER (WHERE c.retagged), '{}'), count(*) FILTER (WHERE c.kept),
            (SELECT min(merge_fault(w.id, w.has_tags, w.has_metadata, w.tags, w.metadata, f.tags, w.given)) FROM wanted w)
        INTO v_told, v_retagged, v_kept, v_fault FROM changed c;
    IF v_fault IS NOT NULL THEN RAISE EXCEPTION '%', v_fault USING ERRCODE = 'RG012'; END IF;
    PERFORM queue_jobs(g.space_id, v_retagged, '{relate}');
    PERFORM tell_changed(g.id, v_told, p_robot);
    RETURN v_kept;
END $$;

-- Makes the memories of a file those that it says now, in one transaction; of what has not changed nothing is written. They are long-term memories: recall brings
-- them into a working set. p_file: {"path", "scope": ["key=value"], "digest" (hexadecimal; the same one as before: nothing is done), "tags", "metadata", "front_matter",
-- "chunks": [{"content", "tokens", "heading": []}]}. The same text twice is one chunk, where it stands first. What has expired is not there any more, swept or not.
CREATE OR REPLACE FUNCTION robotgroups.sync_file(p_group bigint, p_robot text, p_tenure bigint, p_file jsonb,
    OUT changed boolean, OUT chunks integer, OUT added integer, OUT updated integer, OUT removed integer, OUT revision bigint, OUT epoch bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE g groups; v_robot text; v_scope text[]; o files; f files; v_seen jsonb; v_chunks chunk[]; v_stored file_chunks[];
BEGIN
    PERFORM assert_may_use(p_group);
    v_scope := ARRAY(SELECT jsonb_array_elements_text(coalesce(p_file->'scope', '[]')));
    v_chunks := chunks_of(p_file->'chunks', v_scope);
    v_seen := seen_of_file((SELECT x.space_id FROM groups x WHERE x.id = p_group), p_file->>'path', v_scope, ARRAY(SELECT c.hash FROM unnest(v_chunks) c));
    g := lock_memory(p_group);
    v_robot := fence(p_group, p_robot, p_tenure);
    SELECT * INTO o FROM files x WHERE x.space_id = g.space_id AND memory_hash(x.path, x.scope) = memory_hash(p_file->>'path', v_scope) FOR UPDATE;
    -- one that says nothing is none: nothing of it could be found, and be erased
    changed := CASE WHEN v_chunks = '{}' THEN o.id IS NOT NULL ELSE o.digest IS DISTINCT FROM decode(p_file->>'digest', 'hex') END;
    added := 0; updated := 0; removed := 0; chunks := cardinality(v_chunks); revision := g.revision; epoch := g.epoch;
    IF NOT changed THEN RETURN; END IF;
    IF v_chunks = '{}' THEN
        SELECT u.removed, u.revision INTO removed, revision FROM unload_file(p_group, p_robot, p_tenure, o.path, o.scope) u;
        RETURN;
    END IF;
    f := o; f.tags := ARRAY(SELECT jsonb_array_elements_text(coalesce(p_file->'tags', '[]'))); f.metadata := coalesce(p_file->'metadata', '{}');
    IF o.id IS NULL THEN
        INSERT INTO files (space_id, path, scope, digest, front_matter, tags, metadata) VALUES (g.space_id, p_file->>'path', v_scope,
            decode(p_file->>'digest', 'hex'), coalesce(p_file->'front_matter', '{}'), f.tags, f.metadata) RETURNING * INTO f;
    ELSE
        UPDATE files SET digest = decode(p_file->>'digest', 'hex'), front_matter = coalesce(p_file->'front_matter', '{}'), tags = f.tags, metadata = f.metadata,
            loaded_at = now() WHERE id = o.id RETURNING * INTO f;
    END IF;
    v_stored := ARRAY(SELECT c FROM file_chunks c WHERE c.file_id = f.id ORDER BY c.position);
    DELETE FROM file_chunks WHERE file_id = f.id;
    PERFORM remove_expired(g.space_id, p_group, ARRAY(SELECT c.hash FROM unnest(v_chunks) c), v_robot);
    v_chunks := ARRAY(SELECT ROW(c.place, c.content, c.tokens, c.heading, c.hash, coalesce(m.id, nextval('memories_id_seq')), m.id IS NOT NULL,
            EXISTS (SELECT FROM unnest(v_stored) s WHERE s.memory_id = m.id))::chunk
        FROM unnest(v_chunks) c LEFT JOIN memories m ON m.content_hash = c.hash AND m.space_id IS NOT DISTINCT FROM g.space_id ORDER BY c.place);
    -- the new ones first: their heading may name one that goes
    added := (SELECT count(*) FROM unnest(v_chunks) c WHERE NOT c.kept);
    PERFORM add_chunks(g, f, ARRAY(SELECT c FROM unnest(v_chunks) c WHERE NOT c.known ORDER BY c.place), v_robot);
    updated := refresh_chunks(g, o, f, v_chunks, v_stored, v_robot);
    INSERT INTO file_chunks (file_id, position, memory_id, heading, content_hash) SELECT f.id, c.place, c.id, c.heading, c.hash FROM unnest(v_chunks) c;
    removed := drop_chunks(g, o, ARRAY(SELECT s FROM unnest(v_stored) s WHERE NOT EXISTS (SELECT FROM unnest(v_chunks) c WHERE c.id = s.memory_id)), v_robot, v_seen);
    SELECT x.revision INTO revision FROM groups x WHERE x.id = p_group;
END $$;

-- Into the working set ------------------------------------------------------------------------------------------------------------------------------------------

-- Recalled memories come into the working set, or count as accessed when they are there. What is there stays there; the others come in best first, as many as fit
-- beside that without one taking another's place. entered: those that are in it now, with their places' keepers and so on, in the same order.
CREATE FUNCTION robotgroups.take_in(p_group bigint, p_robot text, p_tenure bigint, p_memories bigint[],
    OUT entered bigint[], OUT keepers text[], OUT access_counts integer[], OUT accessed_at timestamptz[], OUT pinned boolean[], OUT revision bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE g groups; v_robot text; m memories; v record; v_held bigint[]; v_sum integer;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_memory(p_group);
    v_robot := fence(p_group, p_robot, p_tenure);
    revision := g.revision;
    p_memories := ARRAY(SELECT x.id FROM memories x WHERE x.space_id = g.space_id AND x.id = ANY (p_memories) AND x.forgotten_at IS NULL
        AND (x.expires_at IS NULL OR x.expires_at > now()) ORDER BY array_position(p_memories, x.id));
    PERFORM FROM memories x WHERE x.id = ANY (p_memories) ORDER BY x.id FOR NO KEY UPDATE;
    UPDATE memories x SET access_count = x.access_count + 1, last_accessed_at = now() WHERE x.id = ANY (p_memories);
    WITH touched AS (
        UPDATE working_memory x SET access_count = x.access_count + 1, last_accessed_at = now()
        WHERE x.group_id = p_group AND x.memory_id = ANY (p_memories) RETURNING x.memory_id, x.tokens, x.pinned)
    SELECT coalesce(array_agg(t.memory_id), '{}'), coalesce(sum(t.tokens) FILTER (WHERE NOT t.pinned), 0) INTO v_held, v_sum FROM touched t;
    entered := v_held;
    FOR v IN SELECT x AS m, y AS w FROM unnest(p_memories) WITH ORDINALITY i(id, place) JOIN memories x ON x.id = i.id
        LEFT JOIN working_memory y ON y.group_id = p_group AND y.memory_id = i.id ORDER BY y.memory_id IS NULL, i.place LOOP
        m := v.m;
        IF (v.w).memory_id IS NOT NULL THEN
            revision := append_change(p_group, 'updated', m.id, v_robot, memory_json(m, v.w));
        ELSIF v_sum + m.tokens <= g.max_tokens - g.pinned_tokens THEN
            revision := place(p_group, m, v_robot, 'added', 1, entered);
            v_sum := v_sum + m.tokens; entered := entered || m.id;
        END IF;
    END LOOP;
    SELECT coalesce(array_agg(x.memory_id ORDER BY x.memory_id), '{}'), array_agg(x.keeper ORDER BY x.memory_id), array_agg(x.access_count ORDER BY x.memory_id),
            array_agg(x.last_accessed_at ORDER BY x.memory_id), array_agg(x.pinned ORDER BY x.memory_id)
        INTO entered, keepers, access_counts, accessed_at, pinned FROM working_memory x WHERE x.group_id = p_group AND x.memory_id = ANY (entered);
END $$;

-- For robots of the version before.
CREATE OR REPLACE FUNCTION robotgroups.into_working_memory(p_group bigint, p_robot text, p_tenure bigint, p_memories bigint[], OUT entered bigint[], OUT revision bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
    SELECT t.entered, t.revision FROM take_in(p_group, p_robot, p_tenure, p_memories) t
$$;

-- Keeps memories in the working set (they are never evicted nor cleared), or lets them go as others do; returns how many changed. What has expired is no memory.
CREATE OR REPLACE FUNCTION robotgroups.pin(p_group bigint, p_robot text, p_tenure bigint, p_memories bigint[], p_pinned boolean,
    OUT changed integer, OUT revision bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE g groups; v_robot text; m memories; w working_memory; v_id bigint;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_memory(p_group);
    v_robot := fence(p_group, p_robot, p_tenure);
    changed := 0; revision := g.revision;
    IF NOT p_pinned THEN DELETE FROM rankings WHERE group_id = p_group; END IF;  -- they may be less valuable than what was ranked
    FOREACH v_id IN ARRAY p_memories LOOP
        SELECT * INTO m FROM memories WHERE space_id = g.space_id AND id = v_id AND forgotten_at IS NULL AND (expires_at IS NULL OR expires_at > now());
        IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', v_id USING ERRCODE = 'RG011'; END IF;
        SELECT * INTO g FROM groups WHERE id = p_group;
        SELECT * INTO w FROM working_memory WHERE group_id = p_group AND memory_id = v_id;
        CONTINUE WHEN CASE WHEN FOUND THEN w.pinned = p_pinned ELSE NOT p_pinned END;
        IF p_pinned AND g.pinned_tokens + m.tokens > g.max_tokens THEN
            RAISE EXCEPTION 'memory % has % tokens, which do not fit beside the % that are pinned of max_tokens %', v_id, m.tokens, g.pinned_tokens,
                g.max_tokens USING ERRCODE = 'RG012';
        END IF;
        IF w.memory_id IS NULL THEN PERFORM enter_working_memory(p_group, v_id, v_robot, 'added'); END IF;
        UPDATE working_memory SET pinned = p_pinned WHERE group_id = p_group AND memory_id = v_id RETURNING * INTO w;
        UPDATE groups SET pinned_tokens = pinned_tokens + CASE WHEN p_pinned THEN m.tokens ELSE -m.tokens END WHERE id = p_group;
        revision := append_change(p_group, 'updated', v_id, v_robot, memory_json(m, w));
        changed := changed + 1;
    END LOOP;
END $$;

-- Brings back what was forgotten; not what has expired.
CREATE OR REPLACE FUNCTION robotgroups.restore(p_group bigint, p_robot text, p_tenure bigint, p_memory bigint, OUT revision bigint, OUT epoch bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; v_robot text;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_memory(p_group); epoch := g.epoch; revision := g.revision;
    v_robot := fence(p_group, p_robot, p_tenure);
    PERFORM FROM memories WHERE space_id = g.space_id AND id = p_memory AND (expires_at IS NULL OR expires_at > now());
    IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', p_memory USING ERRCODE = 'RG011'; END IF;
    UPDATE memories SET forgotten_at = NULL WHERE id = p_memory AND forgotten_at IS NOT NULL;
    IF NOT FOUND THEN RETURN; END IF;
    SELECT e.revision INTO revision FROM enter_working_memory(p_group, p_memory, v_robot, 'restored') e;
END $$;

-- Relations -----------------------------------------------------------------------------------------------------------------------------------------------------

-- A forgotten memory is shown to no model, until it is restored, or remembered again. What was remembered meanwhile has not seen it: it looks for its relations by
-- tags again.
CREATE OR REPLACE FUNCTION robotgroups.forgotten_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
BEGIN
    UPDATE jobs SET claimed_by = NULL, not_before = CASE WHEN NEW.forgotten_at IS NULL THEN now() ELSE 'infinity' END
        WHERE memory_id = NEW.id AND kind IN ('embed', 'backfill', 'tags', 'propositions');
    IF NEW.forgotten_at IS NULL AND NEW.tags <> '{}' THEN PERFORM queue_jobs(NEW.space_id, ARRAY[NEW.id], '{relate}'); END IF;
    RETURN NULL;
END $$;

-- A memory of whose 10 best relations by tags fewer than 5 are left, the others erased, looks for the next ones: not before, or what retention removes every few
-- seconds would keep all of the space looking. A job that is there is not waited for: relate_by_tags may be waiting for whoever deletes.
CREATE FUNCTION robotgroups.relations_gone() RETURNS trigger
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO jobs (space_id, memory_id, kind)
        SELECT m.space_id, m.id, 'relate' FROM memories m
        WHERE m.id IN (SELECT x.source FROM gone x WHERE x.kind = 'tags' AND NOT EXISTS (SELECT FROM memories t WHERE t.id = x.target))
            AND (SELECT count(*) FROM relations r WHERE r.source = m.id AND r.kind = 'tags') < 5
            AND NOT EXISTS (SELECT FROM jobs j WHERE j.memory_id = m.id AND j.kind = 'relate') ORDER BY m.id
        ON CONFLICT (memory_id, kind) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER relations_gone AFTER DELETE ON robotgroups.relations REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION robotgroups.relations_gone();

-- The memories that can be reached from p_starts by up to p_depth relations, each by its best path: the highest product of weights; of equal ones the shortest,
-- then the one over the lowest ids. Relations lead both ways. No path leads through what is forgotten, has expired or is not of the scope. p_kinds: only by these
-- (NULL: any). The work is bounded: from each memory its 50 strongest relations of either direction are followed (from the first ones p_limit, if that is
-- more), and at each step the 200 best memories (or p_limit). As no weight is above 1, the best way to a memory after n steps goes on from a best way after n - 1.
-- Weights are kept as real, and are what they are written as: 0.7 is 0.7, though the nearest real is less; products are rounded to the 15 digits that they have.
CREATE OR REPLACE FUNCTION robotgroups.walk(p_space bigint, p_starts bigint[], p_depth integer, p_min_weight double precision, p_kinds text[], p_scope text[], p_limit integer)
RETURNS TABLE (id bigint, weight double precision, depth integer, path bigint[], kinds text[])
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET extra_float_digits = 1 AS $$
    WITH RECURSIVE steps (id, weight, depth, path, kinds) AS (
        SELECT s.id, 1::double precision, 0, ARRAY[s.id], '{}'::text[] FROM unnest(p_starts) s(id)
        UNION ALL
        SELECT b.* FROM (
            SELECT n.* FROM (
                SELECT DISTINCT ON (e.id) e.id, p.weight, f.depth + 1 AS depth, f.path || e.id AS path, f.kinds || e.kind AS kinds
                FROM steps f CROSS JOIN LATERAL (
                    (SELECT r.target AS id, r.weight::text::double precision AS weight, r.kind FROM relations r JOIN memories m ON m.id = r.target
                        WHERE r.source = f.id AND m.space_id = p_space AND (p_kinds IS NULL OR r.kind = ANY (p_kinds)) AND m.forgotten_at IS NULL
                            AND (m.expires_at IS NULL OR m.expires_at > now()) AND m.scope @> p_scope
                        ORDER BY r.weight DESC, r.target, r.kind LIMIT CASE f.depth WHEN 0 THEN greatest(50, p_limit) ELSE 50 END)
                    UNION ALL
                    (SELECT r.source, r.weight::text::double precision, r.kind FROM relations r JOIN memories m ON m.id = r.source
                        WHERE r.target = f.id AND m.space_id = p_space AND (p_kinds IS NULL OR r.kind = ANY (p_kinds)) AND m.forgotten_at IS NULL
                            AND (m.expires_at IS NULL OR m.expires_at > now()) AND m.scope @> p_scope
                        ORDER BY r.weight DESC, r.source, r.kind LIMIT CASE f.depth WHEN 0 THEN greatest(50, p_limit) ELSE 50 END)) e
                CROSS JOIN LATERAL (SELECT (f.weight * e.weight)::numeric::double precision) p(weight)
                WHERE f.depth < p_depth AND NOT e.id = ANY (f.path) AND NOT e.id = ANY (p_starts) AND p.weight >= p_min_weight
                ORDER BY e.id, p.weight DESC, f.path, e.kind) n
            ORDER BY n.weight DESC, n.id LIMIT greatest(200, p_limit)) b)
    SELECT DISTINCT ON (s.id) s.* FROM steps s WHERE s.depth > 0 ORDER BY s.id, s.weight DESC, s.depth, s.path
$$;

-- Languages -----------------------------------------------------------------------------------------------------------------------------------------------------

-- Makes the lexemes of up to p_limit memories that have none yet, oldest first; returns how many. Ids of a space are given under a lock that is held until
-- the commit, so nothing can appear behind the watermark. One at a time; who comes second finds it done.
CREATE OR REPLACE FUNCTION robotgroups.lex(p_group bigint, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE v_space bigint; v_language regconfig; v_from bigint; v_to bigint; v_count integer;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT g.space_id INTO v_space FROM groups g WHERE g.id = p_group;
    -- the space's row first: whoever changes a text or the language holds it, too, so that no lexemes are of an older one
    SELECT s.lexed_to INTO v_from FROM spaces s WHERE s.id = v_space FOR NO KEY UPDATE;
    IF NOT FOUND THEN RETURN 0; END IF;
    v_language := (SELECT g.language::regconfig FROM groups g WHERE g.id = p_group);
    PERFORM set_config('synchronous_commit', 'off', true);  -- what a crash loses of it is done again
    -- locked: one that is being erased just now is waited for, and left out
    WITH todo AS MATERIALIZED (
        SELECT m.id, m.content FROM memories m
            WHERE m.space_id = v_space AND (m.space_id, m.id) > (v_space, v_from) ORDER BY m.id LIMIT p_limit FOR KEY SHARE),
    made AS (
        INSERT INTO lexemes (memory_id, space_id, lexemes) SELECT t.id, v_space, words_of(v_space, to_tsvector(v_language, t.content)) FROM todo t
        ON CONFLICT (memory_id) DO UPDATE SET lexemes = excluded.lexemes)
    SELECT count(*), max(t.id) INTO v_count, v_to FROM todo t;
    IF v_count > 0 THEN UPDATE spaces SET lexed_to = v_to WHERE id = v_space; END IF;
    RETURN v_count;
END $$;

-- In which language a group's memories are to be searched, and which one it names if that is another. p_named: what it names now (NULL: what it has named). Who
-- joins a space takes its language; who names another one than before changes it for all of the space. The caller holds the space's row when it is shared.
CREATE FUNCTION robotgroups.language_of(g robotgroups.groups, p_named text, p_made boolean, OUT language text, OUT named_language text)
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp AS $$
DECLARE v_was text := coalesce(g.named_language, g.language); v_named text := coalesce(p_named, v_was);
BEGIN
    language := CASE WHEN NOT g.shares OR NOT p_made AND v_named <> v_was THEN v_named
        WHEN p_made THEN coalesce((SELECT x.language FROM groups x WHERE x.space_id = g.space_id AND x.id <> g.id ORDER BY x.id LIMIT 1), v_named)
        ELSE g.language END;
    named_language := nullif(v_named, language);
END $$;

-- Makes a language that of all groups of a space, and the words of its memories anew. p_before: that of the group that has just named it.
CREATE FUNCTION robotgroups.speak(p_space bigint, p_before text, p_language text) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
BEGIN
    -- lexemes that lex is making just now are waited for: the statement below would not see them
    PERFORM FROM spaces WHERE id = p_space FOR NO KEY UPDATE;
    UPDATE groups x SET language = p_language, named_language = nullif(coalesce(x.named_language, x.language), p_language)
        WHERE x.space_id = p_space AND x.language <> p_language;
    IF NOT FOUND AND p_before = p_language THEN RETURN; END IF;
    UPDATE lexemes l SET lexemes = words_of(p_space, to_tsvector(p_language::regconfig, m.content)) FROM memories m
        WHERE l.space_id = p_space AND m.id = l.memory_id;
END $$;

-- Which groups of the same space name another language than this one, and what that means; NULL: none.
CREATE FUNCTION robotgroups.language_conflict(p_group bigint) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN (SELECT format('%s of the same space %s another language than %s: the one that was changed last serves all of them, which is %s here; give them the same',
            string_agg(o.name, ', ' ORDER BY o.name), CASE WHEN count(*) = 1 THEN 'names' ELSE 'name' END, min(coalesce(g.named_language, g.language)), min(g.language))
        FROM groups g JOIN groups o ON o.space_id = g.space_id AND coalesce(o.named_language, o.language) <> coalesce(g.named_language, g.language)
        WHERE g.id = p_group AND g.shares HAVING count(*) > 0);
END $$;

-- Makes a group or brings its settings up to date. Two that make the same group at once make one: nobody else's lock can keep anybody from it.
-- Announcements of what has no revision say 0: a robot that is told of memories by links cannot tell the same revision again from one that is late.
CREATE OR REPLACE FUNCTION robotgroups.ensure_group(p_cluster text, p_namespace_uid text, p_name text, p_settings jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_id bigint; g groups; n groups; v_space text := p_settings->>'space'; v_has text; v_new bigint; v_made boolean := false;
BEGIN
    IF p_settings ? 'language' AND NOT EXISTS (SELECT FROM pg_ts_config WHERE cfgname = p_settings->>'language') THEN
        RAISE EXCEPTION 'unknown text search language %: choose one that Postgres has, such as english, german or simple (SELECT cfgname FROM pg_ts_config)',
            p_settings->>'language' USING ERRCODE = 'RG012';
    END IF;
    SELECT id INTO v_id FROM groups WHERE cluster = p_cluster AND namespace_uid = p_namespace_uid AND name = p_name;
    IF NOT FOUND THEN
        v_made := true;
        LOOP
            v_new := space_named(p_cluster, p_namespace_uid, v_space);
            INSERT INTO groups (cluster, namespace_uid, name, space_id, shares) VALUES (p_cluster, p_namespace_uid, p_name, v_new, v_space IS NOT NULL)
                ON CONFLICT (cluster, namespace_uid, name) DO NOTHING RETURNING id INTO v_id;
            EXIT WHEN FOUND;
            -- somebody else has made it meanwhile
            v_made := false;
            DELETE FROM spaces WHERE id = v_new AND name IS NULL;
            SELECT id INTO v_id FROM groups WHERE cluster = p_cluster AND namespace_uid = p_namespace_uid AND name = p_name;
            EXIT WHEN FOUND;
        END LOOP;
    END IF;
    g := lock_memory(v_id);
    SELECT s.name INTO v_has FROM spaces s WHERE s.id = g.space_id;
    IF p_settings ? 'space' AND v_has IS DISTINCT FROM v_space THEN
        RAISE EXCEPTION 'group % remembers in the space %, which cannot be changed to %: make a new group, and export and import its memories',
            p_name, coalesce(v_has, '(its own)'), coalesce(v_space, '(its own)') USING ERRCODE = 'RG012';
    END IF;
    n := jsonb_populate_record(g, jsonb_strip_nulls(p_settings));
    -- of these, null means: none
    n.expire_after_s := CASE WHEN p_settings ? 'expire_after_s' THEN (p_settings->>'expire_after_s')::bigint ELSE g.expire_after_s END;
    n.keep_memories := CASE WHEN p_settings ? 'keep_memories' THEN (p_settings->>'keep_memories')::bigint ELSE g.keep_memories END;
    SELECT l.* INTO n.language, n.named_language FROM language_of(g, p_settings->>'language', v_made) l;
    IF n IS NOT DISTINCT FROM g THEN RETURN v_id; END IF;
    IF n.max_tokens < 1 THEN RAISE EXCEPTION 'max_tokens must be at least 1, not %', n.max_tokens USING ERRCODE = 'RG012'; END IF;
    IF n.max_tokens < g.pinned_tokens THEN
        RAISE EXCEPTION 'max_tokens % is less than the % tokens that are pinned: unpin some first', n.max_tokens, g.pinned_tokens USING ERRCODE = 'RG012';
    END IF;
    PERFORM make_room(v_id, g.working_memory_tokens - n.max_tokens);
    UPDATE groups SET max_tokens = n.max_tokens, language = n.language, named_language = n.named_language, tokenizer = n.tokenizer, retention = n.retention,
        failover_mode = n.failover_mode, heartbeat_ms = n.heartbeat_ms, lease_ms = n.lease_ms, failover_delay_ms = n.failover_delay_ms,
        failover_cooldown_ms = n.failover_cooldown_ms, failback = n.failback, suspended = n.suspended,
        resource_uid = n.resource_uid, eviction = n.eviction, embedding = n.embedding, extraction = n.extraction,
        expire_after_s = n.expire_after_s, keep_memories = n.keep_memories WHERE id = v_id;
    IF n.embedding <> g.embedding THEN PERFORM choose_model(g.space_id, n.embedding); END IF;
    IF n.extraction <> g.extraction THEN PERFORM choose_extraction(g.space_id); END IF;
    PERFORM announce(v_id, 0);  -- who hears it asks for the settings, with a heartbeat
    IF NOT v_made AND coalesce(n.named_language, n.language) <> coalesce(g.named_language, g.language) THEN PERFORM speak(g.space_id, g.language, n.language); END IF;
    RETURN v_id;
END $$;

DO $$ DECLARE f regprocedure; BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'robotgroups'
        AND p.proname IN ('later_expiry', 'merge_fault', 'remove_expired', 'take_in', 'relations_gone', 'language_of', 'speak', 'language_conflict')
    LOOP EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f); END LOOP;
    GRANT EXECUTE ON FUNCTION robotgroups.take_in(bigint, text, bigint, bigint[]), robotgroups.language_conflict(bigint) TO robotgroups_robot;
END $$;
