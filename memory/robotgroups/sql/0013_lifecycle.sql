-- What becomes of memories after they were remembered: they are updated (with a history), they expire, they are erased. And what becomes of the feed: it is
-- pruned. Locks: the space's row when it is shared, then its groups' in the order of their ids, then memories in the order of theirs.

ALTER TABLE robotgroups.memory_versions SET (autovacuum_vacuum_scale_factor = 0.05);
-- Postgres' statistics would keep samples of what was erased until the next ANALYZE (of a table that is empty then, for good). Nothing is planned by these columns.
DO $$
DECLARE v text;
BEGIN
    FOREACH v IN ARRAY '{memories.content,memories.metadata,memories.propositions,memory_versions.content,memory_versions.metadata,memory_versions.tags,
            changes.payload,idempotency_keys.key,jobs.error,files.path,files.front_matter,file_chunks.heading}'::text[] LOOP
        EXECUTE format('ALTER TABLE robotgroups.%s ALTER COLUMN %s SET STATISTICS 0', split_part(v, '.', 1), split_part(v, '.', 2));
    END LOOP;
END $$;
ALTER TABLE robotgroups.changes SET (toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_threshold = 5000);
-- Keys go by their age, the oldest first.
CREATE INDEX idempotency_keys_age ON robotgroups.idempotency_keys (created_at);

-- Update -------------------------------------------------------------------------------------------------------------------------------------------------------

-- Brings a working set that holds a memory to the memory's new size, evicting others when it grew (M4), and tells of it. What alone is too large now leaves for
-- long-term memory; what is pinned may not grow that much. Returns the event's revision.
CREATE FUNCTION robotgroups.retell(p_group bigint, m robotgroups.memories, p_robot text) RETURNS bigint
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE g groups; w working_memory; v_room integer; v_grown integer;
BEGIN
    SELECT * INTO g FROM groups WHERE id = p_group FOR NO KEY UPDATE;
    SELECT * INTO w FROM working_memory WHERE group_id = p_group AND memory_id = m.id;
    IF NOT FOUND THEN RETURN append_change(p_group, 'updated', m.id, p_robot, memory_json(m, NULL)); END IF;
    v_grown := m.tokens - w.tokens;
    v_room := g.max_tokens - g.pinned_tokens + CASE WHEN w.pinned THEN w.tokens ELSE 0 END;
    IF m.tokens > v_room THEN
        IF w.pinned THEN
            RAISE EXCEPTION 'memory % is pinned in group %, where % tokens have room for it, not %: unpin it there or shorten it', m.id, g.name, v_room, m.tokens
                USING ERRCODE = 'RG012';
        END IF;
        DELETE FROM working_memory WHERE group_id = p_group AND slot = w.slot;
        UPDATE groups SET working_memory_nodes = working_memory_nodes - 1, working_memory_tokens = working_memory_tokens - w.tokens WHERE id = p_group;
        RETURN append_change(p_group, 'updated', m.id, p_robot, memory_json(m, NULL));
    END IF;
    IF v_grown > 0 THEN PERFORM evict(p_group, g.working_memory_tokens + v_grown - g.max_tokens, ARRAY[m.id]); END IF;
    IF v_grown <> 0 THEN
        UPDATE working_memory SET tokens = m.tokens WHERE group_id = p_group AND slot = w.slot RETURNING * INTO w;
        UPDATE groups SET working_memory_tokens = working_memory_tokens + v_grown,
            pinned_tokens = pinned_tokens + CASE WHEN w.pinned THEN v_grown ELSE 0 END WHERE id = p_group;
    END IF;
    RETURN append_change(p_group, 'updated', m.id, p_robot, memory_json(m, w));
END $$;

-- Changes what a memory says. p_patch: {"content" with "tokens", "tags", "metadata", "expires_at"}, each replaced as a whole; what is absent stays, and null is for
-- expires_at alone (never). What it said before goes to its history, the newest 1,000 of it; expires_at alone makes no new version. Done twice, it is done once.
CREATE FUNCTION robotgroups.update_memory(p_group bigint, p_robot text, p_tenure bigint, p_memory bigint, p_patch jsonb,
    OUT version integer, OUT revision bigint, OUT epoch bigint, OUT in_working_memory boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE g groups; v_robot text; o memories; m memories; x memories; v_group bigint; v_revision bigint;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_memory(p_group);
    v_robot := fence(p_group, p_robot, p_tenure);
    -- before the memory's row: who makes lexemes holds the space's, and goes on to the memories'
    IF p_patch ? 'content' THEN PERFORM FROM spaces WHERE id = g.space_id FOR NO KEY UPDATE; END IF;
    SELECT * INTO o FROM memories y WHERE y.space_id = g.space_id AND y.id = p_memory AND (y.expires_at IS NULL OR y.expires_at > now()) FOR UPDATE;
    IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', p_memory USING ERRCODE = 'RG011'; END IF;
    m := patched(o, p_patch);
    IF m IS NOT DISTINCT FROM o THEN
        version := o.version; revision := g.revision; epoch := g.epoch;
        in_working_memory := EXISTS (SELECT FROM working_memory w WHERE w.group_id = p_group AND w.memory_id = p_memory);
        RETURN;
    END IF;
    IF m.content_hash <> o.content_hash THEN
        SELECT * INTO x FROM memories y WHERE y.content_hash = m.content_hash AND y.space_id IS NOT DISTINCT FROM g.space_id;
        IF x.expires_at <= now() THEN
            PERFORM remove_memories(g.space_id, p_group, ARRAY[x.id], v_robot, false, NULL);
        ELSIF FOUND THEN
            RAISE EXCEPTION 'memory % says this already, in the same scope%: update that one, or erase it first', x.id,
                CASE WHEN x.forgotten_at IS NULL THEN '' ELSE ' (it is forgotten)' END USING ERRCODE = 'RG012';
        END IF;
    END IF;
    IF (m.content, m.tags, m.metadata) IS DISTINCT FROM (o.content, o.tags, o.metadata) THEN
        INSERT INTO memory_versions (memory_id, version, content, tokens, tags, metadata, since, replaced_by)
            VALUES (o.id, o.version, o.content, o.tokens, o.tags, o.metadata, coalesce(o.updated_at, o.created_at), v_robot);
        DELETE FROM memory_versions v WHERE v.memory_id = o.id AND v.version <= o.version - 1000;
        m.version := o.version + 1; m.updated_at := now();
    END IF;
    UPDATE memories y SET content = m.content, content_hash = m.content_hash, tokens = m.tokens, tags = m.tags, metadata = m.metadata,
        expires_at = m.expires_at, version = m.version, updated_at = m.updated_at WHERE y.id = o.id;
    -- what else was made of the old content, its trigger sees to (content_changed)
    IF m.content_hash <> o.content_hash THEN PERFORM relex(g, m); END IF;
    IF m.tags <> o.tags THEN PERFORM queue_jobs(g.space_id, ARRAY[o.id], '{relate}'); END IF;
    -- M3: whoever holds it hears of it; its own group does in any case
    FOR v_group IN SELECT y.id FROM groups y WHERE y.space_id = g.space_id AND (y.id = p_group OR EXISTS (
            SELECT FROM working_memory w WHERE w.group_id = y.id AND w.memory_id = o.id)) ORDER BY y.id LOOP
        v_revision := retell(v_group, m, v_robot);
        IF v_group = p_group THEN revision := v_revision; END IF;
    END LOOP;
    version := m.version; epoch := g.epoch;
    in_working_memory := EXISTS (SELECT FROM working_memory w WHERE w.group_id = p_group AND w.memory_id = p_memory);
END $$;

-- The memory as a patch makes it; refuses what cannot be.
CREATE FUNCTION robotgroups.patched(o robotgroups.memories, p_patch jsonb) RETURNS robotgroups.memories
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp AS $$
DECLARE m memories := o;
BEGIN
    IF p_patch ? 'content' THEN
        m.content := p_patch->>'content';
        IF coalesce(m.content !~ '\S', true) THEN RAISE EXCEPTION 'content must not be blank' USING ERRCODE = 'RG012'; END IF;
        IF octet_length(m.content) > 262144 THEN
            RAISE EXCEPTION 'content is too large: it has % bytes of UTF-8, a memory may have 262144: split it', octet_length(m.content) USING ERRCODE = 'RG012';
        END IF;
        IF p_patch->>'tokens' IS NULL THEN RAISE EXCEPTION 'new content needs its number of tokens' USING ERRCODE = 'RG012'; END IF;
        IF m.content <> o.content THEN m.tokens := greatest((p_patch->>'tokens')::integer, 0); END IF;
        m.content_hash := memory_hash(m.content, m.scope);
    END IF;
    IF p_patch ? 'tags' THEN m.tags := ARRAY(SELECT jsonb_array_elements_text(p_patch->'tags')); END IF;
    IF p_patch ? 'metadata' THEN
        m.metadata := p_patch->'metadata';
        IF jsonb_typeof(m.metadata) <> 'object' THEN RAISE EXCEPTION 'metadata must be a JSON object' USING ERRCODE = 'RG012'; END IF;
    END IF;
    IF p_patch ? 'expires_at' THEN
        m.expires_at := (p_patch->>'expires_at')::timestamptz;
        IF m.expires_at <= now() THEN
            RAISE EXCEPTION 'expires_at % is not in the future: to remove a memory now, erase it', m.expires_at USING ERRCODE = 'RG012';
        END IF;
    END IF;
    RETURN m;
END $$;

-- Lexemes of a new text, if it had some. The caller holds the space's row, as lex does: none can be of a text that is being replaced.
CREATE FUNCTION robotgroups.relex(g robotgroups.groups, m robotgroups.memories) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_to bigint;
BEGIN
    SELECT lexed_to INTO v_to FROM spaces WHERE id = g.space_id;
    IF m.id <= v_to THEN
        INSERT INTO lexemes (memory_id, space_id, lexemes) VALUES (m.id, g.space_id, words_of(g.space_id, to_tsvector(g.language::regconfig, m.content)))
            ON CONFLICT (memory_id) DO UPDATE SET lexemes = excluded.lexemes;
    END IF;
END $$;

-- What a memory says and has said, newest first: [{"version", "content", "tokens", "tags", "metadata", "since", "until", "replaced_by"}].
CREATE FUNCTION robotgroups.memory_history(p_group bigint, p_memory bigint, p_limit integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE m memories;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT x.* INTO m FROM groups g JOIN memories x ON x.space_id = g.space_id WHERE g.id = p_group AND x.id = p_memory
        AND (x.expires_at IS NULL OR x.expires_at > now());
    IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', p_memory USING ERRCODE = 'RG011'; END IF;
    RETURN (SELECT coalesce(jsonb_agg(to_jsonb(h) - 'memory_id' ORDER BY h.version DESC), '[]') FROM (
        SELECT m.id AS memory_id, m.version, m.content, m.tokens, m.tags, m.metadata, coalesce(m.updated_at, m.created_at) AS since,
            NULL::timestamptz AS until, NULL::text AS replaced_by
        UNION ALL SELECT * FROM memory_versions v WHERE v.memory_id = m.id
        ORDER BY 2 DESC LIMIT p_limit) h);
END $$;

-- Erasure ------------------------------------------------------------------------------------------------------------------------------------------------------

-- How far the feeds of a space's groups are: {"group": revision}.
CREATE FUNCTION robotgroups.feed_positions(p_space bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT coalesce(jsonb_object_agg(id, revision), '{}') FROM groups WHERE space_id = p_space
$$;

-- Where the feeds of a space's groups, after these positions, hold what memories said: [[group, revision]]. Planned anew each time: a plan for any number of
-- memories compares each change with each of them.
CREATE FUNCTION robotgroups.feed_mentions(p_space bigint, p_memories bigint[], p_positions jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_array(c.group_id, c.revision)), '[]')
        FROM groups g JOIN changes c ON c.group_id = g.id AND c.revision > coalesce((p_positions->>g.id::text)::bigint, 0)
            CROSS JOIN LATERAL unnest(coalesce(c.memory_ids, ARRAY[c.memory_id])) i(id) JOIN unnest(p_memories) e(id) ON e.id = i.id
        WHERE g.space_id = p_space AND c.kind IN ('added', 'updated', 'restored'));
END $$;

-- Takes what memories said out of these rows of the feed; the events stay, for their revisions.
CREATE FUNCTION robotgroups.scrub(p_mentions jsonb, p_memories bigint[]) RETURNS void
LANGUAGE sql SET search_path = robotgroups, pg_temp AS $$
    UPDATE changes c SET payload = CASE WHEN c.memory_ids IS NULL THEN jsonb_build_object('id', c.memory_id, 'erased', true)
        ELSE jsonb_set(c.payload, '{items}', (
            SELECT jsonb_agg(CASE WHEN c.memory_ids[i.place] = ANY (p_memories) THEN '{"erased": true}' ELSE i.item END ORDER BY i.place)
            FROM jsonb_array_elements(c.payload->'items') WITH ORDINALITY i(item, place))) END
    FROM jsonb_array_elements(p_mentions) x WHERE c.group_id = (x->>0)::bigint AND c.revision = (x->>1)::bigint
$$;

-- Takes memories out of a group's working set, if it holds them; one row of the feed tells of them, or of all when p_all.
CREATE FUNCTION robotgroups.drop_from_working_memory(p_group bigint, p_memories bigint[], p_robot text, p_all boolean) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_held bigint[]; v_tokens integer; v_pinned integer;
BEGIN
    WITH gone AS (DELETE FROM working_memory WHERE group_id = p_group AND memory_id = ANY (p_memories) RETURNING memory_id, tokens, pinned)
    SELECT coalesce(array_agg(memory_id ORDER BY memory_id), '{}'), coalesce(sum(tokens), 0), coalesce(sum(tokens) FILTER (WHERE pinned), 0)
        INTO v_held, v_tokens, v_pinned FROM gone;
    IF v_held = '{}' AND NOT p_all THEN RETURN; END IF;
    WITH counted AS (
        UPDATE groups SET revision = revision + cardinality(CASE WHEN p_all THEN p_memories ELSE v_held END),
            working_memory_nodes = working_memory_nodes - cardinality(v_held), working_memory_tokens = working_memory_tokens - v_tokens,
            pinned_tokens = pinned_tokens - v_pinned WHERE id = p_group RETURNING revision, epoch)
    INSERT INTO changes (group_id, revision, kind, epoch, memory_ids, robot)
        SELECT p_group, c.revision, 'forgotten', c.epoch, CASE WHEN p_all THEN p_memories ELSE v_held END, p_robot FROM counted c;
    PERFORM announce(p_group, (SELECT revision FROM groups WHERE id = p_group));
END $$;

-- Removes memories of a space for good: from every table, feed and queue; caches hear of it. p_group's feed tells of each (p_all) or of those that it held. The
-- caller holds lock_memory(p_group), and the memories are the space's. p_seen: what the caller has found in the feeds before it took the lock
-- ({"positions", "mentions"}), so that little is left to be read under it. Returns how many there were.
CREATE FUNCTION robotgroups.remove_memories(p_space bigint, p_group bigint, p_memories bigint[], p_robot text, p_all boolean, p_seen jsonb) RETURNS integer
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_ids bigint[]; v_group bigint; v_files bigint[];
BEGIN
    v_ids := ARRAY(SELECT id FROM memories WHERE space_id = p_space AND id = ANY (p_memories) ORDER BY id FOR UPDATE);
    IF v_ids = '{}' THEN RETURN 0; END IF;
    FOR v_group IN SELECT id FROM groups WHERE space_id = p_space ORDER BY id FOR NO KEY UPDATE LOOP
        PERFORM drop_from_working_memory(v_group, v_ids, p_robot, p_all AND v_group = p_group);
    END LOOP;
    PERFORM scrub(coalesce(p_seen->'mentions', '[]') || feed_mentions(p_space, v_ids, coalesce(p_seen->'positions', '{}')), v_ids);
    v_files := ARRAY(SELECT DISTINCT file_id FROM file_chunks WHERE memory_id = ANY (v_ids));
    DELETE FROM memories WHERE id = ANY (v_ids);
    -- a file of which nothing is left would still be known by its path and front matter
    DELETE FROM files f WHERE f.id = ANY (v_files) AND NOT EXISTS (SELECT FROM file_chunks c WHERE c.file_id = f.id);
    RETURN cardinality(v_ids);
END $$;

-- The ids, after p_after, of up to p_limit memories of a space that are named, or have all of a scope and all of the tags (or tags below them).
CREATE FUNCTION robotgroups.erasable(p_space bigint, p_memories bigint[], p_scope text[], p_tags text[], p_after bigint, p_limit integer) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp AS $$
BEGIN
    IF p_memories IS NOT NULL THEN
        RETURN ARRAY(SELECT m.id FROM memories m WHERE m.space_id = p_space AND m.id = ANY (p_memories) AND m.id > p_after ORDER BY m.id LIMIT p_limit);
    ELSIF p_scope IS NOT NULL THEN
        RETURN ARRAY(SELECT m.id FROM memories m WHERE m.space_id = p_space AND m.scope @> p_scope AND m.scope <> '{}' AND m.id > p_after
            AND has_tags(m.tags, coalesce(p_tags, '{}')) ORDER BY m.id LIMIT p_limit);
    END IF;
    RETURN ARRAY(SELECT m.id FROM memories m WHERE m.space_id = p_space AND m.id > p_after AND m.tags <> '{}' AND has_tags(m.tags, p_tags)
        ORDER BY m.id LIMIT p_limit);
END $$;

-- A tag matches itself and what stands below it: a:b matches a:b:c.
CREATE FUNCTION robotgroups.has_tags(p_tags text[], p_wanted text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT NOT EXISTS (SELECT FROM unnest(p_wanted) w WHERE NOT EXISTS (SELECT FROM unnest(p_tags) t WHERE t = w OR starts_with(t, w || ':')))
$$;

-- Erases memories for good: those of p_memories, or else those that have all of p_scope and all of p_tags. At most p_limit of them with an id above p_after; there may
-- be more as long as "last" is not null: go on after it.
CREATE FUNCTION robotgroups.erase(p_group bigint, p_robot text, p_tenure bigint, p_memories bigint[], p_scope text[], p_tags text[], p_after bigint, p_limit integer,
    OUT erased integer, OUT last bigint, OUT revision bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_space bigint; v_robot text; v_ids bigint[]; v_seen jsonb;
BEGIN
    PERFORM assert_may_use(p_group);
    IF p_memories IS NULL AND coalesce(p_scope, '{}') = '{}' AND coalesce(p_tags, '{}') = '{}' THEN
        RAISE EXCEPTION 'name what to erase: ids, a scope or tags' USING ERRCODE = 'RG012';
    END IF;
    p_scope := nullif(p_scope, '{}');
    SELECT space_id INTO v_space FROM groups WHERE id = p_group;
    v_ids := erasable(v_space, p_memories, p_scope, p_tags, p_after, p_limit);
    v_seen := jsonb_build_object('positions', feed_positions(v_space));
    v_seen := v_seen || jsonb_build_object('mentions', feed_mentions(v_space, v_ids, '{}'));
    PERFORM lock_memory(p_group);
    v_robot := fence(p_group, p_robot, p_tenure);
    IF cardinality(v_ids) = p_limit THEN last := v_ids[p_limit]; END IF;
    IF p_memories IS NULL THEN  -- as they are now: tags may have changed meanwhile
        v_ids := ARRAY(SELECT m.id FROM memories m WHERE m.id = ANY (v_ids) AND has_tags(m.tags, coalesce(p_tags, '{}')));
    END IF;
    erased := remove_memories(v_space, p_group, v_ids, v_robot, true, v_seen);
    SELECT g.revision INTO revision FROM groups g WHERE g.id = p_group;
END $$;

-- Retention ----------------------------------------------------------------------------------------------------------------------------------------------------

-- Removes, for good, what has expired and what the group's policy keeps no longer: memories that were not remembered again for expire_after_s, and the oldest
-- beyond keep_memories. Pinned ones stay, unless they expire by themselves. A bounded piece of work: up to p_limit of each; by age, it looks at so many memories
-- after the id p_after. next_after: where to go on, 0 when it has seen all of them. Anybody of the group may call it, at any time.
CREATE FUNCTION robotgroups.enforce_retention(p_group bigint, p_limit integer, p_after bigint, OUT removed integer, OUT next_after bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE
    g groups; v_pinned bigint[] := '{}'; v_expired bigint[]; v_old bigint[] := '{}'; v_surplus bigint[] := '{}'; v_ids bigint[]; v_seen jsonb; v_cutoff timestamptz;
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT * INTO g FROM groups WHERE id = p_group;
    IF NOT FOUND THEN RAISE EXCEPTION 'no group has id %', p_group USING ERRCODE = 'RG002'; END IF;
    removed := 0; next_after := 0;
    v_cutoff := v_now - make_interval(secs => g.expire_after_s);
    v_expired := ARRAY(SELECT id FROM memories WHERE space_id = g.space_id AND expires_at <= v_now ORDER BY expires_at LIMIT p_limit);
    IF g.expire_after_s IS NOT NULL OR g.keep_memories IS NOT NULL THEN v_pinned := pinned_in(g.space_id); END IF;
    IF g.expire_after_s IS NOT NULL THEN SELECT * INTO v_old, next_after FROM aged(g, v_cutoff, v_pinned, p_after, p_limit); END IF;
    IF g.keep_memories IS NOT NULL THEN v_surplus := surplus(g, v_pinned, p_limit); END IF;
    v_ids := ARRAY(SELECT DISTINCT unnest(v_expired || v_old || v_surplus));
    IF v_ids = '{}' THEN RETURN; END IF;
    v_seen := jsonb_build_object('positions', feed_positions(g.space_id));
    v_seen := v_seen || jsonb_build_object('mentions', feed_mentions(g.space_id, v_ids, '{}'));
    PERFORM lock_memory(p_group);
    v_pinned := pinned_in(g.space_id);
    -- what was remembered again, updated or pinned meanwhile stays
    v_ids := ARRAY(SELECT m.id FROM memories m WHERE m.id = ANY (v_ids) AND (m.expires_at <= v_now OR NOT m.id = ANY (v_pinned) AND (
        m.id = ANY (v_old) AND m.remembered_at < v_cutoff OR m.id = ANY (v_surplus) AND m.remembered_at < v_now)));
    removed := remove_memories(g.space_id, p_group, v_ids, NULL, false, v_seen);
END $$;

-- What any group of a space has pinned.
CREATE FUNCTION robotgroups.pinned_in(p_space bigint) RETURNS bigint[]
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT ARRAY(SELECT w.memory_id FROM groups g JOIN working_memory w ON w.group_id = g.id WHERE g.space_id = p_space AND w.pinned)
$$;

-- Of the memories after p_after, ten times p_limit at most: those that the group has not remembered since p_cutoff.
CREATE FUNCTION robotgroups.aged(g robotgroups.groups, p_cutoff timestamptz, p_pinned bigint[], p_after bigint, p_limit integer, OUT ids bigint[], OUT next_after bigint)
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE v_count integer;
BEGIN
    WITH looked AS (SELECT m.id, m.group_id, m.remembered_at FROM memories m WHERE m.space_id = g.space_id AND m.id > p_after ORDER BY m.id LIMIT p_limit * 10),
    old AS (SELECT l.id FROM looked l WHERE l.group_id = g.id AND l.remembered_at < p_cutoff AND NOT l.id = ANY (p_pinned) ORDER BY l.id LIMIT p_limit)
    SELECT (SELECT coalesce(array_agg(o.id ORDER BY o.id), '{}') FROM old o), count(*), max(l.id) INTO ids, v_count, next_after FROM looked l;
    IF cardinality(ids) = p_limit THEN next_after := ids[p_limit];
    ELSIF v_count < p_limit * 10 THEN next_after := 0;
    END IF;
END $$;

-- Pruning ------------------------------------------------------------------------------------------------------------------------------------------------------

-- Gives up the changes that nobody needs any more: every live robot has applied them, they are older than p_age, and the newest p_keep stay. However slow a robot is,
-- no more than p_most stay: who is further back starts from a snapshot. They are out of reach at once, and removed by sweep. Returns the revision up to
-- which they are gone. Losing it in a crash does no harm: it does not wait for the disk.
CREATE FUNCTION robotgroups.prune(p_group bigint, p_keep integer DEFAULT 1000, p_most integer DEFAULT 100000, p_age interval DEFAULT '10 minutes') RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; v_to bigint;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT * INTO g FROM groups WHERE id = p_group;
    IF NOT FOUND THEN RAISE EXCEPTION 'no group has id %', p_group USING ERRCODE = 'RG002'; END IF;
    -- revisions are in the order of time, nearly: the newest old one of the next 10,000
    SELECT max(c.revision) INTO v_to FROM (
        SELECT x.revision, x.created_at FROM changes x WHERE x.group_id = p_group AND x.revision > g.pruned_to ORDER BY x.revision LIMIT 10000) c
        WHERE c.created_at < now() - p_age;
    v_to := least(coalesce(v_to, g.pruned_to), g.revision - greatest(p_keep, 0), (SELECT min(p.applied_revision) FROM presence p
        WHERE p.group_id = p_group AND p.heartbeat_at > clock_timestamp() - make_interval(secs => g.lease_ms / 1000.0)));
    v_to := greatest(v_to, g.revision - greatest(p_most, p_keep, 0), g.pruned_to);
    IF v_to > g.pruned_to THEN
        PERFORM set_config('synchronous_commit', 'off', true);
        UPDATE groups SET pruned_to = v_to WHERE id = p_group AND pruned_to < v_to;
    END IF;
    RETURN v_to;
END $$;

-- Deletes up to p_limit changes that were pruned, and as many idempotency keys of more than a day, whoever's they are; returns how many. It waits for nobody, and
-- holds no row that others wait for but the ones that it deletes.
CREATE FUNCTION robotgroups.sweep(p_group bigint, p_limit integer DEFAULT 5000) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE v_changes integer; v_keys integer;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM set_config('synchronous_commit', 'off', true);
    WITH gone AS MATERIALIZED (
        SELECT x.revision FROM changes x WHERE x.group_id = p_group AND x.revision <= (SELECT pruned_to FROM groups WHERE id = p_group)
        ORDER BY x.revision LIMIT p_limit FOR UPDATE SKIP LOCKED)
    DELETE FROM changes c USING gone d WHERE c.group_id = p_group AND c.revision = d.revision;
    GET DIAGNOSTICS v_changes = ROW_COUNT;
    WITH gone AS MATERIALIZED (
        SELECT x.group_id, x.key FROM idempotency_keys x WHERE x.created_at < now() - interval '1 day' ORDER BY x.created_at LIMIT p_limit FOR UPDATE SKIP LOCKED)
    DELETE FROM idempotency_keys k USING gone d WHERE k.group_id = d.group_id AND k.key = d.key;
    GET DIAGNOSTICS v_keys = ROW_COUNT;
    RETURN v_changes + v_keys;
END $$;

DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('retell', 'update_memory', 'patched', 'relex', 'memory_history', 'feed_positions', 'feed_mentions', 'scrub',
            'drop_from_working_memory', 'remove_memories', 'erasable', 'has_tags', 'erase', 'enforce_retention', 'pinned_in', 'aged', 'prune', 'sweep')
    LOOP EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f); END LOOP;
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('update_memory', 'memory_history', 'erase', 'enforce_retention', 'prune', 'sweep')
    LOOP EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO robotgroups_robot', f); END LOOP;
END $$;
