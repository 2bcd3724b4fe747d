-- Announcements of what has no revision say 0: a robot that is told of memories by links cannot tell the same revision again from one that is late.

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
        failover_mode = n.failover_mode, heartbeat_ms = n.heartbeat_ms, lease_ms = n.lease_ms, failover_delay_ms = n.failover_delay_ms,
        failover_cooldown_ms = n.failover_cooldown_ms, failback = n.failback, suspended = n.suspended,
        resource_uid = n.resource_uid, eviction = n.eviction, embedding = n.embedding, extraction = n.extraction,
        expire_after_s = n.expire_after_s, keep_memories = n.keep_memories WHERE id = v_id;
    IF n.embedding <> g.embedding THEN PERFORM choose_model(g.space_id, n.embedding); END IF;
    IF n.extraction <> g.extraction THEN PERFORM choose_extraction(g.space_id); END IF;
    PERFORM announce(v_id, 0);  -- who hears it asks for the settings, with a heartbeat
    IF n.language <> g.language THEN
        UPDATE lexemes l SET lexemes = words_of(g.space_id, to_tsvector(n.language::regconfig, m.content)) FROM memories m
            WHERE l.space_id = g.space_id AND m.id = l.memory_id;
    END IF;
    RETURN v_id;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.finish_model(p_space bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE s spaces; v_group bigint;
BEGIN
    SELECT * INTO s FROM spaces WHERE id = p_space;
    IF s.target_model IS NULL OR s.serving_model = s.target_model OR NOT is_embedded(p_space) THEN RETURN false; END IF;
    UPDATE spaces SET serving_model = s.target_model, serving_since = now() WHERE id = p_space AND target_model = s.target_model;
    IF NOT FOUND THEN RETURN false; END IF;
    UPDATE jobs SET kind = 'embed' WHERE space_id = p_space AND kind = 'backfill';  -- those that it has refused
    FOR v_group IN SELECT id FROM groups WHERE space_id = p_space ORDER BY id LOOP
        PERFORM announce(v_group, 0);
    END LOOP;
    RETURN true;
END $$;

-- Since 0018 another language left words without their space's mark, which no search finds.
UPDATE robotgroups.lexemes l SET lexemes = robotgroups.words_of(l.space_id, to_tsvector(g.language::regconfig, m.content))
FROM robotgroups.memories m JOIN robotgroups.groups g ON g.id = m.group_id
WHERE m.id = l.memory_id AND NOT starts_with((tsvector_to_array(l.lexemes))[1], to_hex(l.space_id) || '/');
