-- What connects memories: relations, the tags that they share, the files that they were loaded from.
-- Locks: the space's row when it is shared, then its groups' in the order of their ids, then memories in the order of theirs, jobs last.

-- Relations ----------------------------------------------------------------------------------------------------------------------------------------------------

-- Says that a memory is related to another of the space, or how much (0 to 1), in somebody's words; returns whether that is new. "tags" is not for anybody to say.
CREATE FUNCTION robotgroups.relate(p_group bigint, p_robot text, p_tenure bigint, p_source bigint, p_target bigint, p_kind text, p_weight double precision)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; v_found bigint[]; v_new boolean;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_memory(p_group);
    PERFORM fence(p_group, p_robot, p_tenure);
    PERFORM check_kind(p_kind);
    IF p_source = p_target THEN RAISE EXCEPTION 'memory % cannot be related to itself', p_source USING ERRCODE = 'RG012'; END IF;
    IF NOT coalesce(p_weight BETWEEN 0.000001 AND 1, false) THEN
        RAISE EXCEPTION 'the weight of a relation must be above 0 and at most 1, not %', p_weight USING ERRCODE = 'RG012';
    END IF;
    v_found := ARRAY(SELECT m.id FROM memories m WHERE m.space_id = g.space_id AND m.id IN (p_source, p_target) AND m.forgotten_at IS NULL
        AND (m.expires_at IS NULL OR m.expires_at > now()) ORDER BY m.id FOR KEY SHARE);
    IF cardinality(v_found) < 2 THEN
        RAISE EXCEPTION 'no memory has id %', CASE WHEN p_source = ANY (v_found) THEN p_target ELSE p_source END USING ERRCODE = 'RG011';
    END IF;
    INSERT INTO relations AS r (source, target, kind, space_id, weight) VALUES (p_source, p_target, p_kind, g.space_id, p_weight)
        ON CONFLICT (source, target, kind) DO UPDATE SET weight = excluded.weight RETURNING r.xmax = 0 INTO v_new;
    RETURN v_new;
END $$;

-- Takes that back; returns whether it was said.
CREATE FUNCTION robotgroups.unrelate(p_group bigint, p_robot text, p_tenure bigint, p_source bigint, p_target bigint, p_kind text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM check_kind(p_kind);
    g := lock_memory(p_group);
    PERFORM fence(p_group, p_robot, p_tenure);
    DELETE FROM relations WHERE space_id = g.space_id AND source = p_source AND target = p_target AND kind = p_kind;
    RETURN FOUND;
END $$;

CREATE FUNCTION robotgroups.check_kind(p_kind text) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF coalesce(p_kind !~ '\S', true) THEN RAISE EXCEPTION 'the kind of a relation must not be blank' USING ERRCODE = 'RG012'; END IF;
    IF p_kind = 'tags' THEN
        RAISE EXCEPTION 'relations of the kind tags are made of the tags that memories have: tag them, or choose another kind' USING ERRCODE = 'RG012';
    END IF;
END $$;

-- The memories that can be reached from p_starts by up to p_depth relations, each by its best path: the highest product of weights; of equal ones the shortest,
-- then the one over the lowest ids. Relations lead both ways. No path leads through what is forgotten, has expired or is not of the scope. p_kinds: only by these
-- (NULL: any). The work is bounded: from each memory its 50 strongest relations of either direction are followed (from the first ones p_limit, if that is
-- more), and at each step the 200 best memories (or p_limit). As no weight is above 1, the best way to a memory after n steps goes on from a best way after n - 1.
CREATE FUNCTION robotgroups.walk(p_space bigint, p_starts bigint[], p_depth integer, p_min_weight double precision, p_kinds text[], p_scope text[], p_limit integer)
RETURNS TABLE (id bigint, weight double precision, depth integer, path bigint[], kinds text[])
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH RECURSIVE steps (id, weight, depth, path, kinds) AS (
        SELECT s.id, 1::double precision, 0, ARRAY[s.id], '{}'::text[] FROM unnest(p_starts) s(id)
        UNION ALL
        SELECT b.* FROM (
            SELECT n.* FROM (
                SELECT DISTINCT ON (e.id) e.id, f.weight * e.weight AS weight, f.depth + 1 AS depth, f.path || e.id AS path, f.kinds || e.kind AS kinds
                FROM steps f CROSS JOIN LATERAL (
                    (SELECT r.target AS id, r.weight::double precision AS weight, r.kind FROM relations r JOIN memories m ON m.id = r.target
                        WHERE r.source = f.id AND m.space_id = p_space AND (p_kinds IS NULL OR r.kind = ANY (p_kinds)) AND m.forgotten_at IS NULL
                            AND (m.expires_at IS NULL OR m.expires_at > now()) AND m.scope @> p_scope
                        ORDER BY r.weight DESC, r.target, r.kind LIMIT CASE f.depth WHEN 0 THEN greatest(50, p_limit) ELSE 50 END)
                    UNION ALL
                    (SELECT r.source, r.weight::double precision, r.kind FROM relations r JOIN memories m ON m.id = r.source
                        WHERE r.target = f.id AND m.space_id = p_space AND (p_kinds IS NULL OR r.kind = ANY (p_kinds)) AND m.forgotten_at IS NULL
                            AND (m.expires_at IS NULL OR m.expires_at > now()) AND m.scope @> p_scope
                        ORDER BY r.weight DESC, r.source, r.kind LIMIT CASE f.depth WHEN 0 THEN greatest(50, p_limit) ELSE 50 END)) e
                WHERE f.depth < p_depth AND NOT e.id = ANY (f.path) AND NOT e.id = ANY (p_starts) AND f.weight * e.weight >= p_min_weight
                ORDER BY e.id, f.weight * e.weight DESC, f.path, e.kind) n
            ORDER BY n.weight DESC, n.id LIMIT greatest(200, p_limit)) b)
    SELECT DISTINCT ON (s.id) s.* FROM steps s WHERE s.depth > 0 ORDER BY s.id, s.weight DESC, s.depth, s.path
$$;

-- What a memory is related to, the strongest first, ties to the nearer, then to the older one. path: the ids from the memory on; kinds: by which relations.
CREATE FUNCTION robotgroups.related(
    p_group bigint, p_memory bigint, p_depth integer, p_min_weight double precision, p_kinds text[], p_scope text[], p_limit integer)
RETURNS TABLE (memory jsonb, weight double precision, depth integer, path bigint[], kinds text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE v_space bigint;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT m.space_id INTO v_space FROM groups g JOIN memories m ON m.space_id = g.space_id
        WHERE g.id = p_group AND m.id = p_memory AND m.forgotten_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > now()) AND m.scope @> p_scope;
    IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', p_memory USING ERRCODE = 'RG011'; END IF;
    RETURN QUERY SELECT memory_json(m, w), s.weight, s.depth, s.path, s.kinds
        FROM (SELECT x.* FROM walk(v_space, ARRAY[p_memory], least(p_depth, 5), p_min_weight, p_kinds, p_scope, p_limit) x
            ORDER BY x.weight DESC, x.depth, x.id LIMIT p_limit) s
        JOIN memories m ON m.id = s.id LEFT JOIN working_memory w ON w.group_id = p_group AND w.memory_id = m.id
        ORDER BY s.weight DESC, s.depth, s.id;
END $$;

-- What recall's hits are related to, but for the hits themselves, in the same order; recall's filters hold for it too. path begins at the hit that it is near to.
CREATE FUNCTION robotgroups.neighbours(
    p_group bigint, p_memories bigint[], p_depth integer, p_min_weight double precision, p_filter jsonb, p_limit integer)
RETURNS TABLE (memory jsonb, weight double precision, depth integer, path bigint[], kinds text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE v_space bigint; v_scope text[]; v_starts bigint[];
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT space_id INTO v_space FROM groups WHERE id = p_group;
    v_scope := ARRAY(SELECT jsonb_array_elements_text(coalesce(p_filter->'scope', '[]')));
    v_starts := ARRAY(SELECT m.id FROM memories m WHERE m.space_id = v_space AND m.id = ANY (p_memories) AND m.forgotten_at IS NULL
        AND (m.expires_at IS NULL OR m.expires_at > now()) AND m.scope @> v_scope ORDER BY m.id);
    -- $4, as filter_sql names it; all that was reached is filtered before the limit
    RETURN QUERY EXECUTE format($q$
        SELECT memory_json(h.m, w), h.weight, h.depth, h.path, h.kinds
        FROM (SELECT m, s.* FROM walk($1, $2, $3, $5, NULL, $6, $7) s JOIN memories m ON m.id = s.id WHERE %s ORDER BY s.weight DESC, s.depth, s.id LIMIT $7) h
        LEFT JOIN working_memory w ON w.group_id = $8 AND w.memory_id = h.id ORDER BY h.weight DESC, h.depth, h.id$q$, filter_sql(p_filter))
        USING v_space, v_starts, least(p_depth, 5), p_filter, p_min_weight, v_scope, p_limit, p_group;
END $$;

-- Relations by tags --------------------------------------------------------------------------------------------------------------------------------------------

-- Which memories have a tag, or one below it: made in the background, for whoever looks for memories with tags in common.
CREATE TABLE robotgroups.tag_members (
    space_id bigint NOT NULL,
    tag text NOT NULL,
    scope_key bigint NOT NULL,
    memory_id bigint NOT NULL REFERENCES robotgroups.memories ON DELETE CASCADE,
    PRIMARY KEY (space_id, tag, scope_key, memory_id)
);
COMMENT ON COLUMN robotgroups.tag_members.scope_key IS 'a hash of the memory''s scope: relations by tags do not lead from one user to another';
CREATE INDEX tag_members_memory ON robotgroups.tag_members (memory_id);

-- How many memories have a tag, or one below it, when they were counted last: what sharing it says (the rarer, the more).
CREATE TABLE robotgroups.tag_counts (
    space_id bigint NOT NULL REFERENCES robotgroups.spaces ON DELETE CASCADE,
    tag text NOT NULL,
    memories bigint NOT NULL,
    PRIMARY KEY (space_id, tag)
);
CREATE TABLE robotgroups.tag_totals (
    space_id bigint PRIMARY KEY REFERENCES robotgroups.spaces ON DELETE CASCADE,
    memories bigint NOT NULL DEFAULT 0,
    changed bigint NOT NULL DEFAULT 0
);
-- Statistics are samples: an erased tag is to be in none.
ALTER TABLE robotgroups.tag_members ALTER COLUMN tag SET STATISTICS 0;
ALTER TABLE robotgroups.tag_counts ALTER COLUMN tag SET STATISTICS 0;

COMMENT ON COLUMN robotgroups.tag_totals.changed IS 'memories whose tags were looked at since the tags were counted';

-- Tags with all that stand above them: a:b:c brings a and a:b. What has more than 50 levels is cut there (robotgroups.tags.expand is the same in Python), and
-- what no index could hold is left out.
CREATE FUNCTION robotgroups.expand_tags(p_tags text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT coalesce(array_agg(DISTINCT x.tag ORDER BY x.tag), '{}') FROM (
        SELECT t.tag FROM unnest(p_tags) t(tag)
        UNION ALL SELECT array_to_string(l.levels[1:d.depth], ':') FROM unnest(p_tags) t(tag), LATERAL (SELECT string_to_array(t.tag, ':') AS levels) l,
            generate_series(1, least(cardinality(l.levels), 50) - 1) d(depth)) x
    WHERE octet_length(x.tag) <= 2000
$$;

CREATE FUNCTION robotgroups.scope_key(p_scope text[]) RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path = robotgroups, pg_temp AS $$ SELECT CASE WHEN p_scope = '{}' THEN 0 ELSE hashtextextended(p_scope::text, 0) END $$;

-- ln(1 + memories / those that have the tag): robotgroups.tags.inverse_frequency. Plain SQL without settings of its own, so that it is inlined.
CREATE FUNCTION robotgroups.tag_weight(p_memories bigint, p_count bigint) RETURNS double precision
LANGUAGE sql IMMUTABLE AS $$
    SELECT ln(1 + greatest(p_memories, 1)::double precision / greatest(coalesce(p_count, 1), 1))
$$;

-- A memory's tags and those above them, as they were written down, the rarest first, with what each weighs. Plain SQL without settings of its own, so that it is
-- inlined; OFFSET 0 keeps it a look at one memory whatever the planner thinks of joining all.
CREATE FUNCTION robotgroups.weighted_tags(p_space bigint, p_memory bigint)
RETURNS TABLE (tags text[], weights double precision[], weight double precision, scope_key bigint)
LANGUAGE sql STABLE AS $$
    SELECT array_agg(x.tag ORDER BY x.weight DESC, x.tag COLLATE "C"), array_agg(x.weight ORDER BY x.weight DESC, x.tag COLLATE "C"), sum(x.weight), min(x.scope_key)
    FROM (SELECT t.tag, t.scope_key, robotgroups.tag_weight((SELECT n.memories FROM robotgroups.tag_totals n WHERE n.space_id = p_space),
            (SELECT k.memories FROM robotgroups.tag_counts k WHERE k.space_id = p_space AND k.tag = t.tag)) AS weight
        FROM robotgroups.tag_members t WHERE t.memory_id = p_memory OFFSET 0) x
$$;

-- Writes down which tags these memories have now, and counts all of them anew when a tenth has changed: each is counted ten times or so in its life.
CREATE FUNCTION robotgroups.note_tags(p_space bigint, p_memories bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE t tag_totals;
BEGIN
    WITH wanted AS (
        SELECT e.tag, scope_key(m.scope) AS scope_key, m.id FROM memories m, unnest(expand_tags(m.tags)) e(tag) WHERE m.id = ANY (p_memories)),
    gone AS (
        DELETE FROM tag_members x WHERE x.memory_id = ANY (p_memories)
            AND NOT EXISTS (SELECT FROM wanted w WHERE w.id = x.memory_id AND w.tag = x.tag AND w.scope_key = x.scope_key))
    INSERT INTO tag_members (space_id, tag, scope_key, memory_id) SELECT p_space, w.tag, w.scope_key, w.id FROM wanted w ORDER BY w.id, w.tag
        ON CONFLICT DO NOTHING;
    INSERT INTO tag_totals AS x (space_id, changed) VALUES (p_space, cardinality(p_memories))
        ON CONFLICT (space_id) DO UPDATE SET changed = x.changed + excluded.changed RETURNING * INTO t;
    IF t.changed * 10 >= t.memories THEN
        DELETE FROM tag_counts WHERE space_id = p_space;
        INSERT INTO tag_counts (space_id, tag, memories) SELECT p_space, x.tag, count(*) FROM tag_members x WHERE x.space_id = p_space GROUP BY x.tag;
        UPDATE tag_totals SET changed = 0, memories = (SELECT count(DISTINCT x.memory_id) FROM tag_members x WHERE x.space_id = p_space) WHERE space_id = p_space;
    END IF;
END $$;

-- How like the tags of each memory are to those of others of its scope, or of none: weighted Jaccard, with all tags above theirs (robotgroups.tags.weighted_jaccard is
-- the same in Python). Each gets its 20 best of at least a tenth, ties to the nearest in time. For each of its 8 rarest tags it looks at the 25 memories before and
-- after it that have it too: a tag that everything has is no more work than another. "own" are the relations that a memory has to others by this, the rest is what
-- others have to it.
CREATE FUNCTION robotgroups.tag_relations(p_space bigint, p_memories bigint[]) RETURNS TABLE (source bigint, target bigint, weight real, own boolean)
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
    WITH mine AS MATERIALIZED (
        SELECT i.id, w.* FROM unnest(p_memories) i(id) CROSS JOIN LATERAL weighted_tags(p_space, i.id) w WHERE w.tags IS NOT NULL),
    near AS MATERIALIZED (
        SELECT DISTINCT a.id, n.memory_id AS other, true AS own
        FROM mine a CROSS JOIN unnest(a.tags[1:8]) w(tag) CROSS JOIN unnest(ARRAY[a.scope_key] || CASE WHEN a.scope_key <> 0 THEN ARRAY[0::bigint] END) s(key)
        CROSS JOIN LATERAL (
            (SELECT t.memory_id FROM tag_members t WHERE t.space_id = p_space AND t.tag = w.tag AND t.scope_key = s.key AND t.memory_id < a.id
                ORDER BY t.memory_id DESC LIMIT 25)
            UNION ALL
            (SELECT t.memory_id FROM tag_members t WHERE t.space_id = p_space AND t.tag = w.tag AND t.scope_key = s.key AND t.memory_id > a.id
                ORDER BY t.memory_id LIMIT 25)) n
        UNION ALL SELECT r.target, r.source, false FROM relations r WHERE r.target = ANY (p_memories) AND r.kind = 'tags' AND NOT r.source = ANY (p_memories)),
    -- each of them once, however many it is near to
    others AS MATERIALIZED (SELECT d.other, w.* FROM (SELECT DISTINCT n.other FROM near n) d CROSS JOIN LATERAL weighted_tags(p_space, d.other) w),
    scored AS MATERIALIZED (
        SELECT n.id, n.other, n.own, least(c.common / (a.weight + o.weight - c.common), 1)::real AS weight
        FROM near n JOIN mine a ON a.id = n.id JOIN others o ON o.other = n.other
        CROSS JOIN LATERAL (SELECT sum(u.weight) AS common FROM unnest(o.tags, o.weights) u(tag, weight) WHERE u.tag = ANY (a.tags)) c WHERE c.common > 0),
    best AS (
        SELECT s.*, row_number() OVER (PARTITION BY s.id ORDER BY s.weight DESC, abs(s.other - s.id), s.other) AS place FROM scored s
        CROSS JOIN LATERAL (SELECT FROM memories m WHERE m.id = s.other AND m.forgotten_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > now()) OFFSET 0) m
        WHERE s.own AND s.weight >= 0.1)
    SELECT b.id, b.other, b.weight, true FROM best b WHERE b.place <= 20
    UNION ALL SELECT s.other, s.id, s.weight, false FROM scored s WHERE NOT s.own AND s.weight >= 0.1
$$;

-- Brings the relations by tags up to date with the tags of up to p_limit memories that wait for it (jobs of the kind relate); returns how many that were, 0 when none
-- waits that is not being changed just now. One robot at a time in a space; it waits for nobody, and hardly anybody for it: what it works out is written when
-- all that it touches can be locked at once and has the same tags still, else it is left for the next time.
CREATE FUNCTION robotgroups.relate_by_tags(p_group bigint, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
DECLARE v_space bigint; v_ids bigint[]; v_tags jsonb; v_source bigint[]; v_target bigint[]; v_weight real[]; v_own boolean[]; v_safe bigint[];
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT space_id INTO v_space FROM groups WHERE id = p_group;
    IF v_space IS NULL OR NOT pg_try_advisory_xact_lock(hashtextextended('relate ' || v_space, 5249)) THEN RETURN 0; END IF;
    PERFORM set_config('synchronous_commit', 'off', true);  -- what a crash loses of it is done again
    WITH due AS MATERIALIZED (
        SELECT j.memory_id FROM jobs j WHERE j.space_id = v_space AND j.kind = 'relate' AND j.not_before <= now() ORDER BY j.not_before, j.id LIMIT p_limit),
    locked AS MATERIALIZED (
        SELECT m.id, m.tags FROM memories m WHERE m.id IN (SELECT d.memory_id FROM due d) ORDER BY m.id FOR KEY SHARE SKIP LOCKED)
    SELECT coalesce(array_agg(l.id), '{}'), coalesce(jsonb_object_agg(l.id, l.tags), '{}') INTO v_ids, v_tags FROM locked l;
    IF v_ids = '{}' THEN RETURN 0; END IF;
    PERFORM note_tags(v_space, v_ids);
    SELECT coalesce(array_agg(t.source), '{}'), coalesce(array_agg(t.target), '{}'), array_agg(t.weight), array_agg(t.own)
        INTO v_source, v_target, v_weight, v_own FROM tag_relations(v_space, v_ids) t;
    v_safe := ARRAY(SELECT m.id FROM memories m WHERE m.id = ANY (v_source || v_target) ORDER BY m.id FOR KEY SHARE SKIP LOCKED);
    v_ids := ARRAY(SELECT m.id FROM memories m WHERE m.id = ANY (v_ids) AND to_jsonb(m.tags) = v_tags->m.id::text
        AND NOT EXISTS (SELECT FROM unnest(v_source, v_target) e(source, target) WHERE m.id IN (e.source, e.target)
            AND NOT (e.source = ANY (v_safe) AND e.target = ANY (v_safe))) ORDER BY m.id FOR SHARE SKIP LOCKED);
    v_ids := ARRAY(SELECT j.memory_id FROM jobs j WHERE j.space_id = v_space AND j.kind = 'relate' AND j.memory_id = ANY (v_ids) ORDER BY j.memory_id
        FOR UPDATE SKIP LOCKED);
    DELETE FROM jobs j WHERE j.kind = 'relate' AND j.memory_id = ANY (v_ids);
    DELETE FROM relations r WHERE r.kind = 'tags' AND (r.source = ANY (v_ids) OR r.target = ANY (v_ids))
        AND NOT EXISTS (SELECT FROM unnest(v_source, v_target) e(source, target) WHERE e.source = r.source AND e.target = r.target);
    INSERT INTO relations AS r (source, target, kind, space_id, weight)
        SELECT DISTINCT ON (e.source, e.target) e.source, e.target, 'tags', v_space, e.weight
        FROM unnest(v_source, v_target, v_weight, v_own) e(source, target, weight, own)
        WHERE CASE WHEN e.own THEN e.source ELSE e.target END = ANY (v_ids) ORDER BY e.source, e.target, e.own DESC
        ON CONFLICT (source, target, kind) DO UPDATE SET weight = excluded.weight WHERE r.weight IS DISTINCT FROM excluded.weight;
    RETURN cardinality(v_ids);
END $$;

-- Tags ---------------------------------------------------------------------------------------------------------------------------------------------------------

-- The tags of what is not forgotten, the most used first, then by name: {"revision", "tags": [[tag, memories]]}; NULL when the group's revision is p_known still.
CREATE FUNCTION robotgroups.tags(p_group bigint, p_scope text[], p_limit integer, p_known bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT * INTO g FROM groups WHERE id = p_group;
    IF g.revision = p_known THEN RETURN NULL; END IF;
    RETURN jsonb_build_object('revision', g.revision, 'tags', (SELECT coalesce(jsonb_agg(jsonb_build_array(c.tag, c.count) ORDER BY c.count DESC, c.tag), '[]')
        FROM (SELECT t.tag, count(*) FROM memories m, unnest(m.tags) t(tag) WHERE m.space_id = g.space_id AND m.tags <> '{}' AND m.forgotten_at IS NULL
                AND (m.expires_at IS NULL OR m.expires_at > now()) AND m.scope @> p_scope
            GROUP BY t.tag ORDER BY count(*) DESC, t.tag LIMIT p_limit) c));
END $$;

-- Gives a memory tags and takes others from it, as an update of it (with a history); what is done already is no update.
CREATE FUNCTION robotgroups.retag(p_group bigint, p_robot text, p_tenure bigint, p_memory bigint, p_add text[], p_remove text[],
    OUT tags text[], OUT version integer, OUT revision bigint, OUT epoch bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
#variable_conflict use_column
DECLARE g groups; v_has text[]; u record;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_memory(p_group);
    SELECT m.tags INTO v_has FROM memories m WHERE m.space_id = g.space_id AND m.id = p_memory;
    tags := merged_tags(v_has, p_remove, p_add);
    IF cardinality(tags) > 64 AND cardinality(tags) > cardinality(v_has) THEN
        RAISE EXCEPTION 'memory % would have % tags; a memory may have 64', p_memory, cardinality(tags) USING ERRCODE = 'RG012';
    END IF;
    SELECT * INTO u FROM update_memory(p_group, p_robot, p_tenure, p_memory, jsonb_build_object('tags', coalesce(tags, '{}')));
    version := u.version; revision := u.revision; epoch := u.epoch;
END $$;

-- Tags without those of p_old, but for p_keep, and with those of p_new, in their order; what both name stays as it is.
CREATE FUNCTION robotgroups.merged_tags(p_has text[], p_old text[], p_new text[], p_keep text[] DEFAULT '{}') RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT ARRAY(SELECT t.tag FROM unnest(p_has) WITH ORDINALITY t(tag, place)
            WHERE NOT t.tag = ANY (p_old) OR t.tag = ANY (p_new) OR t.tag = ANY (p_keep) ORDER BY t.place)
        || ARRAY(SELECT n.tag FROM unnest(p_new) WITH ORDINALITY n(tag, place) WHERE NOT n.tag = ANY (p_has) AND NOT n.tag = ANY (p_old) ORDER BY n.place)
$$;

-- Files --------------------------------------------------------------------------------------------------------------------------------------------------------

-- A path may be a file of several scopes; its tags and metadata are what each chunk has got from it.
ALTER TABLE robotgroups.files
    ADD COLUMN scope text[] NOT NULL DEFAULT '{}',
    ADD COLUMN tags text[] NOT NULL DEFAULT '{}',
    ADD COLUMN metadata jsonb NOT NULL DEFAULT '{}',
    DROP CONSTRAINT files_space_id_path_key;
-- by a hash: a path may be longer than an index entry
CREATE UNIQUE INDEX files_once ON robotgroups.files (space_id, robotgroups.memory_hash(path, scope));
ALTER TABLE robotgroups.file_chunks ADD COLUMN content_hash bytea NOT NULL;
COMMENT ON COLUMN robotgroups.file_chunks.content_hash IS 'of the chunk; the memory''s is another once somebody has updated it';

CREATE TYPE robotgroups.chunk AS (place integer, content text, tokens integer, heading text[], hash bytea, id bigint, known boolean, kept boolean);

-- What a chunk's memory has as metadata from its file.
CREATE FUNCTION robotgroups.chunk_metadata(f robotgroups.files, p_heading text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT f.metadata || jsonb_build_object('file', jsonb_build_object('path', f.path, 'heading', to_jsonb(p_heading)))
$$;

-- Metadata with what has changed from p_old to p_new; what somebody else has changed meanwhile, or p_keep says too, is not taken away.
CREATE FUNCTION robotgroups.merged_metadata(p_has jsonb, p_old jsonb, p_new jsonb, p_keep jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT (p_has - ARRAY(SELECT o.key FROM jsonb_each(p_old) o WHERE NOT p_new ? o.key AND p_has->o.key = o.value AND p_keep->o.key IS DISTINCT FROM o.value))
        || coalesce((SELECT jsonb_object_agg(n.key, n.value) FROM jsonb_each(p_new) n WHERE p_old->n.key IS DISTINCT FROM n.value), '{}')
$$;

-- What files give to a memory that is a chunk of theirs; the metadata of the one that was loaded last.
CREATE FUNCTION robotgroups.given_by_files(p_memory bigint, OUT tags text[], OUT metadata jsonb)
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp SET enable_seqscan = off AS $$
    SELECT ARRAY(SELECT DISTINCT unnest(f.tags) FROM file_chunks c JOIN files f ON f.id = c.file_id WHERE c.memory_id = p_memory),
        coalesce((SELECT chunk_metadata(f, c.heading) FROM file_chunks c JOIN files f ON f.id = c.file_id WHERE c.memory_id = p_memory
            ORDER BY f.loaded_at DESC, f.id LIMIT 1), '{}')
$$;

-- Tells of memories that have changed, but not in size: a group's own feed of each, those of other groups of the space of what their working sets hold (M3).
CREATE FUNCTION robotgroups.tell_changed(p_group bigint, p_memories bigint[], p_robot text) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE v_group bigint; v_ids bigint[];
BEGIN
    FOR v_group IN SELECT x.id FROM groups x WHERE x.space_id = (SELECT space_id FROM groups WHERE id = p_group) ORDER BY x.id LOOP
        v_ids := ARRAY(SELECT t.id FROM unnest(p_memories) t(id) WHERE v_group = p_group
            OR EXISTS (SELECT FROM working_memory w WHERE w.group_id = v_group AND w.memory_id = t.id) ORDER BY t.id);
        CONTINUE WHEN v_ids = '{}';
        WITH counted AS (UPDATE groups SET revision = revision + cardinality(v_ids) WHERE id = v_group RETURNING revision, epoch)
        INSERT INTO changes (group_id, revision, kind, epoch, memory_id, robot, payload)
            SELECT v_group, c.revision - cardinality(v_ids) + i.place, 'updated', c.epoch, m.id, p_robot, memory_json(m, w)
            FROM counted c, unnest(v_ids) WITH ORDINALITY i(id, place) JOIN memories m ON m.id = i.id
            LEFT JOIN working_memory w ON w.group_id = v_group AND w.memory_id = m.id;
        PERFORM announce(v_group, (SELECT revision FROM groups WHERE id = v_group));
    END LOOP;
END $$;

-- Lets go of memories that were chunks of a file: those that nobody else has said go for good, from the others goes what they had from the file. What somebody has
-- updated is his now. A file counts as one who has remembered its chunks; it is none of theirs any more. Returns how many are gone.
CREATE FUNCTION robotgroups.drop_chunks(g robotgroups.groups, f robotgroups.files, p_chunks robotgroups.file_chunks[], p_robot text, p_seen jsonb) RETURNS integer
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_gone bigint[]; v_stay bigint[]; v_told bigint[]; v_retagged bigint[];
BEGIN
    SELECT coalesce(array_agg(m.id) FILTER (WHERE m.remember_count <= 1), '{}'), coalesce(array_agg(m.id) FILTER (WHERE m.remember_count > 1), '{}')
        INTO v_gone, v_stay FROM unnest(p_chunks) c JOIN memories m ON m.id = c.memory_id AND m.content_hash = c.content_hash;
    PERFORM remove_memories(g.space_id, g.id, v_gone, p_robot, true, p_seen);
    WITH changed AS (
        UPDATE memories m SET remember_count = m.remember_count - 1, tags = merged_tags(m.tags, f.tags, '{}', x.tags),
            metadata = merged_metadata(m.metadata, chunk_metadata(f, c.heading), x.metadata)
        FROM unnest(p_chunks) c JOIN memories o ON o.id = c.memory_id, given_by_files(c.memory_id) x
        WHERE m.id = ANY (v_stay) AND m.id = c.memory_id RETURNING m.id, m.tags <> o.tags AS retagged)
    SELECT coalesce(array_agg(c.id), '{}'), coalesce(array_agg(c.id) FILTER (WHERE c.retagged), '{}') INTO v_told, v_retagged FROM changed c;
    PERFORM queue_jobs(g.space_id, v_retagged, '{relate}');
    PERFORM tell_changed(g.id, v_told, p_robot);
    RETURN cardinality(v_gone);
END $$;

-- Of a file's chunks, those that are not among p_hashes, and what the feeds hold of them: found before the lock is taken, so that little is left to be read under it.
CREATE FUNCTION robotgroups.seen_of_file(p_space bigint, p_path text, p_scope text[], p_hashes bytea[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp AS $$
DECLARE v_ids bigint[]; v_positions jsonb := feed_positions(p_space);
BEGIN
    v_ids := ARRAY(SELECT c.memory_id FROM files f JOIN file_chunks c ON c.file_id = f.id
        WHERE f.space_id = p_space AND memory_hash(f.path, f.scope) = memory_hash(p_path, p_scope) AND NOT c.content_hash = ANY (p_hashes));
    IF v_ids = '{}' THEN RETURN NULL; END IF;
    RETURN jsonb_build_object('positions', v_positions, 'mentions', feed_mentions(p_space, v_ids, '{}'));
END $$;

-- Makes the memories of a file those that it says now, in one transaction; of what has not changed nothing is written. They are long-term memories: recall brings
-- them into a working set. p_file: {"path", "scope": ["key=value"], "digest" (hexadecimal; the same one as before: nothing is done), "tags", "metadata", "front_matter",
-- "chunks": [{"content", "tokens", "heading": []}]}. The same text twice is one chunk, where it stands first.
CREATE FUNCTION robotgroups.sync_file(p_group bigint, p_robot text, p_tenure bigint, p_file jsonb,
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
    changed := o.digest IS DISTINCT FROM decode(p_file->>'digest', 'hex');
    added := 0; updated := 0; removed := 0; chunks := cardinality(v_chunks); revision := g.revision; epoch := g.epoch;
    IF NOT changed THEN RETURN; END IF;
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

-- The chunks of a file as they were sent, each text once.
CREATE FUNCTION robotgroups.chunks_of(p_chunks jsonb, p_scope text[]) RETURNS robotgroups.chunk[]
LANGUAGE plpgsql IMMUTABLE SET search_path = robotgroups, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM jsonb_array_elements(p_chunks) c WHERE coalesce(c->>'content' !~ '\S', true) OR (c->>'tokens')::integer IS NULL) THEN
        RAISE EXCEPTION 'a chunk must not be blank, and needs its number of tokens' USING ERRCODE = 'RG012';
    END IF;
    RETURN ARRAY(SELECT ROW(d.place, d.content, greatest(d.tokens, 0), d.heading, d.hash, NULL, NULL, NULL)::chunk FROM (
        SELECT DISTINCT ON (c.hash) c.* FROM (
            SELECT x.ordinality::integer - 1 AS place, x.content, x.tokens, coalesce(x.heading, '{}') AS heading, memory_hash(x.content, p_scope) AS hash
            FROM ROWS FROM (jsonb_to_recordset(p_chunks) AS (content text, tokens integer, heading text[])) WITH ORDINALITY x) c
        ORDER BY c.hash, c.place) d ORDER BY d.place);
END $$;

-- Stores chunks that are new, in long-term memory alone, and tells of them in one row of the feed.
CREATE FUNCTION robotgroups.add_chunks(g robotgroups.groups, f robotgroups.files, p_chunks robotgroups.chunk[], p_robot text) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
BEGIN
    IF p_chunks = '{}' THEN RETURN; END IF;
    INSERT INTO memories (id, space_id, group_id, content, content_hash, originator, tokens, tags, metadata, scope) OVERRIDING SYSTEM VALUE
        SELECT c.id, g.space_id, g.id, c.content, c.hash, p_robot, c.tokens, f.tags, chunk_metadata(f, c.heading), f.scope FROM unnest(p_chunks) c;
    PERFORM queue_jobs(g.space_id, ARRAY(SELECT c.id FROM unnest(p_chunks) c),
        jobs_for(g.space_id) || CASE WHEN f.tags <> '{}' THEN ARRAY['relate'] ELSE '{}' END);
    -- no room: none of them is in the working set
    WITH counted AS (UPDATE groups SET revision = revision + cardinality(p_chunks) WHERE id = g.id RETURNING revision, epoch)
    INSERT INTO changes (group_id, revision, kind, epoch, memory_ids, robot, payload)
        SELECT g.id, n.revision, 'added', n.epoch, ARRAY(SELECT c.id FROM unnest(p_chunks) c ORDER BY c.place), p_robot, jsonb_build_object('room', -1, 'items',
            (SELECT jsonb_agg(jsonb_build_object('content', c.content, 'tokens', c.tokens, 'tags', f.tags, 'metadata', chunk_metadata(f, c.heading), 'scope', f.scope)
                ORDER BY c.place) FROM unnest(p_chunks) c)) FROM counted n;
    PERFORM announce(g.id, (SELECT revision FROM groups WHERE id = g.id));
END $$;

-- Brings chunks that are memories already up to date: those that were this file's before with what has changed in its tags and metadata, the others as somebody's
-- who says the same. The file's rows of chunks are not there meanwhile. Returns how many of the first kind have changed.
CREATE FUNCTION robotgroups.refresh_chunks(
    g robotgroups.groups, o robotgroups.files, f robotgroups.files, p_chunks robotgroups.chunk[], p_stored robotgroups.file_chunks[], p_robot text) RETURNS integer
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_told bigint[]; v_retagged bigint[]; v_kept integer;
BEGIN
    WITH wanted AS (
        SELECT m.id, c.kept, merged_tags(m.tags, CASE WHEN c.kept THEN o.tags ELSE '{}' END, f.tags, x.tags) AS tags,
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
    SELECT coalesce(array_agg(c.id ORDER BY c.id), '{}'), coalesce(array_agg(c.id) FILTER (WHERE c.retagged), '{}'), count(*) FILTER (WHERE c.kept)
        INTO v_told, v_retagged, v_kept FROM changed c;
    PERFORM queue_jobs(g.space_id, v_retagged, '{relate}');
    PERFORM tell_changed(g.id, v_told, p_robot);
    RETURN v_kept;
END $$;

-- Forgets a file: its chunks go as those that it does not say any more. existed is false when it was not loaded.
CREATE FUNCTION robotgroups.unload_file(p_group bigint, p_robot text, p_tenure bigint, p_path text, p_scope text[],
    OUT existed boolean, OUT removed integer, OUT revision bigint, OUT epoch bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
#variable_conflict use_column
DECLARE g groups; v_robot text; f files; v_seen jsonb; v_stored file_chunks[];
BEGIN
    PERFORM assert_may_use(p_group);
    v_seen := seen_of_file((SELECT x.space_id FROM groups x WHERE x.id = p_group), p_path, p_scope, '{}');
    g := lock_memory(p_group);
    v_robot := fence(p_group, p_robot, p_tenure);
    SELECT * INTO f FROM files x WHERE x.space_id = g.space_id AND memory_hash(x.path, x.scope) = memory_hash(p_path, p_scope) FOR UPDATE;
    existed := f.id IS NOT NULL; removed := 0; epoch := g.epoch; revision := g.revision;
    IF NOT existed THEN RETURN; END IF;
    v_stored := ARRAY(SELECT c FROM file_chunks c WHERE c.file_id = f.id ORDER BY c.position);
    DELETE FROM files WHERE id = f.id;
    removed := drop_chunks(g, f, v_stored, v_robot, v_seen);
    SELECT x.revision INTO revision FROM groups x WHERE x.id = p_group;
END $$;

-- Files that were loaded, in the order of their ids, after p_after: those whose scope holds all of p_scope.
CREATE FUNCTION robotgroups.loaded_files(p_group bigint, p_scope text[], p_after bigint, p_limit integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('id', f.id, 'path', f.path, 'scope', scope_json(f.scope), 'digest', encode(f.digest, 'hex'),
            'front_matter', f.front_matter, 'tags', f.tags, 'loaded_at', f.loaded_at, 'chunks', c.count, 'tokens', c.tokens) ORDER BY f.id), '[]')
        FROM (SELECT x.* FROM files x JOIN groups g ON g.space_id = x.space_id WHERE g.id = p_group AND x.id > p_after AND x.scope @> p_scope
            ORDER BY x.id LIMIT p_limit) f,
        LATERAL (SELECT count(*), coalesce(sum(m.tokens), 0) AS tokens FROM file_chunks y JOIN memories m ON m.id = y.memory_id WHERE y.file_id = f.id) c);
END $$;

-- What is known of a file, before it is taken apart: {"digest", "chunks", "revision", "epoch"}; digest is NULL when it was not loaded.
CREATE FUNCTION robotgroups.file_state(p_group bigint, p_path text, p_scope text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN (SELECT jsonb_build_object('digest', encode(f.digest, 'hex'), 'chunks', (SELECT count(*) FROM file_chunks c WHERE c.file_id = f.id),
            'revision', g.revision, 'epoch', g.epoch)
        FROM groups g LEFT JOIN files f ON f.space_id = g.space_id AND memory_hash(f.path, f.scope) = memory_hash(p_path, p_scope) WHERE g.id = p_group);
END $$;

DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('relate', 'unrelate', 'check_kind', 'walk', 'related', 'neighbours', 'expand_tags', 'scope_key', 'tag_weight',
            'weighted_tags', 'note_tags', 'tag_relations', 'relate_by_tags', 'tags', 'retag', 'merged_tags', 'chunk_metadata', 'merged_metadata', 'given_by_files', 'tell_changed', 'drop_chunks',
            'seen_of_file', 'sync_file', 'chunks_of', 'add_chunks', 'refresh_chunks', 'unload_file', 'loaded_files', 'file_state')
    LOOP EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f); END LOOP;
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('relate', 'unrelate', 'related', 'neighbours', 'relate_by_tags', 'tags', 'retag', 'sync_file', 'unload_file',
            'loaded_files', 'file_state')
    LOOP EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO robotgroups_robot', f); END LOOP;
END $$;
