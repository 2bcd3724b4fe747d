-- Groups again, with spaces, policies and models: what the operator and the SDK declare, and what a cache starts from.

-- Finds or makes the space of this name for a group; NULL is one of its own.
CREATE FUNCTION robotgroups.space_named(p_cluster text, p_namespace_uid text, p_name text) RETURNS bigint
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
    IF p_name IS NOT NULL THEN
        INSERT INTO spaces (cluster, namespace_uid, name) VALUES (p_cluster, p_namespace_uid, p_name)
            ON CONFLICT (cluster, namespace_uid, name) DO NOTHING RETURNING id INTO v_id;
        IF v_id IS NULL THEN
            -- locked: the last group that leaves it would take it along meanwhile
            SELECT id INTO v_id FROM spaces WHERE cluster = p_cluster AND namespace_uid = p_namespace_uid AND name = p_name FOR KEY SHARE;
        END IF;
    END IF;
    IF v_id IS NULL THEN
        INSERT INTO spaces (cluster, namespace_uid, name) VALUES (p_cluster, p_namespace_uid, p_name) RETURNING id INTO v_id;
    END IF;
    RETURN v_id;
END $$;

-- Makes a group's embedding settings those of its space. Another model than before: every memory is queued to be embedded anew, behind what is new, and
-- recall goes on with the old model until that is done (finish_model). None: another group of the space may name one; else what is embedded stays, in case a
-- model is named again.
CREATE FUNCTION robotgroups.choose_model(p_space bigint, p_embedding jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE s spaces; v_model bigint;
BEGIN
    SELECT * INTO s FROM spaces WHERE id = p_space FOR NO KEY UPDATE;
    IF p_embedding->>'provider' = 'none' THEN
        SELECT embedding INTO p_embedding FROM groups WHERE space_id = p_space AND embedding->>'provider' <> 'none' ORDER BY id LIMIT 1;
        IF FOUND THEN PERFORM choose_model(p_space, p_embedding); RETURN; END IF;
        UPDATE spaces SET target_model = NULL WHERE id = p_space AND target_model IS NOT NULL;
        DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE space_id = p_space AND kind IN ('embed', 'backfill') ORDER BY memory_id, kind FOR UPDATE);
        RETURN;
    END IF;
    INSERT INTO embedding_models AS x (space_id, provider, model, dimensions, config)
        VALUES (p_space, p_embedding->>'provider', p_embedding->>'model', (p_embedding->>'dimensions')::integer, p_embedding)
        ON CONFLICT (space_id, provider, model, dimensions) DO UPDATE SET config = excluded.config RETURNING x.id INTO v_model;
    IF s.target_model IS DISTINCT FROM v_model THEN
        UPDATE spaces SET target_model = v_model, serving_model = coalesce(serving_model, v_model) WHERE id = p_space;
        PERFORM backfill(p_space, v_model);
    ELSE  -- other settings may cure what failed
        UPDATE jobs SET not_before = now() WHERE space_id = p_space AND kind IN ('embed', 'backfill') AND error IS NOT NULL AND claimed_by IS NULL
            AND not_before < 'infinity';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.ensure_group(p_cluster text, p_namespace_uid text, p_name text, p_settings jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_id bigint; g groups; n groups; v_space text := p_settings->>'space'; v_has text;
BEGIN
    IF p_settings ? 'language' AND NOT EXISTS (SELECT FROM pg_ts_config WHERE cfgname = p_settings->>'language') THEN
        RAISE EXCEPTION 'unknown text search language %', p_settings->>'language' USING ERRCODE = 'RG012';
    END IF;
    SELECT id INTO v_id FROM groups WHERE cluster = p_cluster AND namespace_uid = p_namespace_uid AND name = p_name;
    IF NOT FOUND THEN
        -- one at a time: two that make the same group would each make a space
        PERFORM pg_advisory_xact_lock(hashtextextended(p_cluster || ' ' || p_namespace_uid || ' ' || p_name, 5248));
        SELECT id INTO v_id FROM groups WHERE cluster = p_cluster AND namespace_uid = p_namespace_uid AND name = p_name;
        IF NOT FOUND THEN
            INSERT INTO groups (cluster, namespace_uid, name, space_id, shares)
                VALUES (p_cluster, p_namespace_uid, p_name, space_named(p_cluster, p_namespace_uid, v_space), v_space IS NOT NULL) RETURNING id INTO v_id;
        END IF;
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
    IF n IS NOT DISTINCT FROM g THEN RETURN v_id; END IF;
    IF n.max_tokens < 1 THEN RAISE EXCEPTION 'max_tokens must be at least 1, not %', n.max_tokens USING ERRCODE = 'RG012'; END IF;
    IF n.max_tokens < g.pinned_tokens THEN
        RAISE EXCEPTION 'max_tokens % is less than the % tokens that are pinned: unpin some first', n.max_tokens, g.pinned_tokens USING ERRCODE = 'RG012';
    END IF;
    PERFORM make_room(v_id, g.working_memory_tokens - n.max_tokens);
    UPDATE groups SET max_tokens = n.max_tokens, language = n.language, tokenizer = n.tokenizer, retention = n.retention,
        failover_mode = n.failover_mode, heartbeat_ms = n.heartbeat_ms, lease_ms = n.lease_ms, suspended = n.suspended,
        resource_uid = n.resource_uid, eviction = n.eviction, embedding = n.embedding, extraction = n.extraction,
        expire_after_s = n.expire_after_s, keep_memories = n.keep_memories WHERE id = v_id;
    IF n.embedding <> g.embedding THEN PERFORM choose_model(g.space_id, n.embedding); END IF;
    IF n.extraction <> g.extraction THEN PERFORM choose_extraction(g.space_id); END IF;
    -- no revision: whoever hears what it has applied already asks for the settings, with a heartbeat
    PERFORM announce(v_id, (SELECT revision FROM groups WHERE id = v_id));
    IF n.language <> g.language THEN
        UPDATE lexemes l SET lexemes = words_of(g.space_id, to_tsvector(n.language::regconfig, m.content)) FROM memories m
            WHERE m.space_id = g.space_id AND l.memory_id = m.id;
    END IF;
    RETURN v_id;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.adopt_group(p_cluster text, p_namespace_uid text, p_name text, p_new_namespace_uid text) RETURNS bigint
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_id bigint; v_empty bigint; s spaces; v_other bigint;
BEGIN
    SELECT id INTO v_id FROM groups WHERE cluster = p_cluster AND namespace_uid = p_namespace_uid AND name = p_name FOR UPDATE;
    IF NOT FOUND THEN RAISE EXCEPTION 'no group %/% in cluster %', p_namespace_uid, p_name, p_cluster USING ERRCODE = 'RG002'; END IF;
    SELECT id INTO v_empty FROM groups WHERE cluster = p_cluster AND namespace_uid = p_new_namespace_uid AND name = p_name;
    IF FOUND THEN
        RAISE EXCEPTION 'namespace % has a group % already (id %): delete that one first', p_new_namespace_uid, p_name, v_empty USING ERRCODE = 'RG012';
    END IF;
    SELECT x.* INTO s FROM spaces x JOIN groups g ON g.space_id = x.id WHERE g.id = v_id;
    SELECT id INTO v_other FROM spaces WHERE cluster = p_cluster AND namespace_uid = p_new_namespace_uid AND name = s.name AND id <> s.id;
    IF FOUND THEN
        RAISE EXCEPTION 'namespace % has a space % already: delete the groups that use it first', p_new_namespace_uid, s.name USING ERRCODE = 'RG012';
    END IF;
    -- the first group of a shared space that is adopted takes the space along; the others find it there
    UPDATE spaces SET namespace_uid = p_new_namespace_uid WHERE id = s.id;
    UPDATE groups SET namespace_uid = p_new_namespace_uid, login = NULL, previous_login = NULL WHERE id = v_id;
    RETURN v_id;
END $$;

-- As before; while the login is being rotated, a robot's sessions may be the previous one's.
CREATE OR REPLACE FUNCTION robotgroups.end_sessions(p_group bigint, p_incarnation uuid, p_backend integer) RETURNS integer
LANGUAGE sql SET search_path = robotgroups, pg_temp AS $$
    SELECT count(pg_terminate_backend(pid))::integer FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        -- S1: names can be borrowed; the sessions of another group's login are never ended
        AND usename::text IN (SELECT current_user UNION ALL SELECT unnest(ARRAY[login, previous_login]) FROM groups WHERE id = p_group)
        AND (application_name = 'robotgroups ' || p_incarnation
             OR (pid = p_backend AND EXISTS (
                 SELECT FROM pg_locks l WHERE l.pid = p_backend AND l.locktype = 'advisory' AND l.objsubid = 1
                    AND ((l.classid::bigint << 32) | l.objid::bigint) = presence_lock(p_incarnation, p_backend))))
$$;

-- Everything a cache starts from, and what a robot has to know of its group.
CREATE OR REPLACE FUNCTION robotgroups.snapshot(p_group bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN (SELECT jsonb_build_object('revision', g.revision, 'epoch', g.epoch, 'max_tokens', g.max_tokens, 'roles', membership(p_group),
        'working_memory', (SELECT coalesce(jsonb_agg(memory_json(m, w) ORDER BY w.memory_id), '[]')
            FROM working_memory w JOIN memories m ON m.id = w.memory_id WHERE w.group_id = p_group))
        FROM groups g WHERE g.id = p_group);
END $$;

CREATE OR REPLACE FUNCTION robotgroups.get_memory(p_group bigint, p_memory bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
DECLARE v jsonb;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT memory_json(m, w) INTO v FROM groups g JOIN memories m ON m.space_id = g.space_id
        LEFT JOIN working_memory w ON w.group_id = g.id AND w.memory_id = m.id
        WHERE g.id = p_group AND m.id = p_memory AND (m.expires_at IS NULL OR m.expires_at > now());
    IF NOT FOUND THEN RAISE EXCEPTION 'no memory has id %', p_memory USING ERRCODE = 'RG011'; END IF;
    RETURN v;
END $$;
