-- Groups and their members: what the operator and the SDK declare.

-- Makes the group or brings its settings up to date; a smaller budget evicts at once (M4). NULL max_tokens keeps the stored value.
CREATE FUNCTION robotgroups.ensure_group(p_cluster text, p_namespace_uid text, p_name text, p_settings jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_id bigint; g groups; n groups;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_ts_config WHERE cfgname = p_settings->>'language') THEN
        RAISE EXCEPTION 'unknown text search language %', p_settings->>'language' USING ERRCODE = 'RG012';
    END IF;
    SELECT id INTO v_id FROM groups WHERE cluster = p_cluster AND namespace_uid = p_namespace_uid AND name = p_name;
    IF NOT FOUND THEN
        INSERT INTO groups (cluster, namespace_uid, name) VALUES (p_cluster, p_namespace_uid, p_name)
            ON CONFLICT (cluster, namespace_uid, name) DO NOTHING;
        SELECT id INTO v_id FROM groups WHERE cluster = p_cluster AND namespace_uid = p_namespace_uid AND name = p_name;
    END IF;
    g := lock_group(v_id);
    n := jsonb_populate_record(g, jsonb_strip_nulls(p_settings));
    IF (n.max_tokens, n.language, n.tokenizer, n.retention, n.failover_mode, n.heartbeat_ms, n.lease_ms, n.suspended, n.resource_uid)
        IS NOT DISTINCT FROM (g.max_tokens, g.language, g.tokenizer, g.retention, g.failover_mode, g.heartbeat_ms, g.lease_ms, g.suspended, g.resource_uid)
    THEN RETURN v_id; END IF;
    IF n.max_tokens < 1 THEN RAISE EXCEPTION 'max_tokens must be at least 1, not %', n.max_tokens USING ERRCODE = 'RG012'; END IF;
    PERFORM make_room(v_id, g.working_memory_tokens - n.max_tokens);
    UPDATE groups SET max_tokens = n.max_tokens, language = n.language, tokenizer = n.tokenizer, retention = n.retention,
        failover_mode = n.failover_mode, heartbeat_ms = n.heartbeat_ms, lease_ms = n.lease_ms, suspended = n.suspended,
        resource_uid = n.resource_uid WHERE id = v_id;
    -- no revision: whoever hears what it has applied already asks for the settings, with a heartbeat
    PERFORM announce(v_id, (SELECT revision FROM groups WHERE id = v_id));
    IF n.language <> g.language THEN
        UPDATE memories SET lexemes = to_tsvector(n.language::regconfig, content) WHERE group_id = v_id;
    END IF;
    RETURN v_id;
END $$;

CREATE FUNCTION robotgroups.join_robot(p_group bigint, p_robot text, p_role text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE r robots;
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM lock_group(p_group);
    IF p_role NOT IN ('active', 'passive') THEN
        RAISE EXCEPTION 'role must be active or passive, not %', p_role USING ERRCODE = 'RG012';
    END IF;
    SELECT * INTO r FROM robots WHERE group_id = p_group AND name = p_robot;
    IF FOUND AND r.role <> 'failed' THEN
        RAISE EXCEPTION '% is already a member', p_robot USING ERRCODE = 'RG006';
    END IF;
    INSERT INTO robots AS x (group_id, name, ordinal, declared_role, role)
        SELECT p_group, p_robot, coalesce(max(ordinal) + 1, 0), p_role, 'passive' FROM robots WHERE group_id = p_group
        ON CONFLICT (group_id, name) DO UPDATE SET declared_role = excluded.declared_role;
    IF p_role = 'active' THEN
        UPDATE groups SET active_target = active_target + 1 WHERE id = p_group;
    END IF;
    RETURN (SELECT epoch FROM apply_roles(p_group, jsonb_build_object(p_robot, p_role), 'joined'));
END $$;

-- A member leaves; the place of an active one is given up with it. False: it was no member.
CREATE FUNCTION robotgroups.leave(p_group bigint, p_robot text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; r robots; p presence;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_group(p_group);
    DELETE FROM robots WHERE group_id = p_group AND name = p_robot RETURNING * INTO r;
    IF NOT FOUND THEN RETURN false; END IF;
    DELETE FROM presence WHERE group_id = p_group AND robot = p_robot RETURNING * INTO p;
    IF FOUND THEN PERFORM end_sessions(p_group, p.incarnation, p.backend_pid); END IF;
    -- the place of an active robot goes with it; a vacancy stays for whoever is left to fill it
    UPDATE groups SET active_target = least(active_target - (r.role = 'active')::integer,
        (SELECT count(*) FROM robots WHERE group_id = p_group)) WHERE id = p_group;
    PERFORM apply_roles(p_group, '{}', format('%s left', p_robot));
    RETURN true;
END $$;

CREATE FUNCTION robotgroups.promote(p_group bigint, p_robot text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_group(p_group);
    IF NOT EXISTS (SELECT FROM robots WHERE group_id = p_group AND name = p_robot AND role = 'passive') THEN
        RAISE EXCEPTION '% is not a passive member', p_robot USING ERRCODE = 'RG012';
    END IF;
    IF NOT EXISTS (SELECT FROM presence p WHERE group_id = p_group AND robot = p_robot AND warm AND is_responsive(p, g.lease_ms)) THEN
        RAISE EXCEPTION '% is not warm: it has not caught up with the group, or is not running', p_robot USING ERRCODE = 'RG013';
    END IF;
    UPDATE groups SET active_target = active_target + 1 WHERE id = p_group;
    RETURN (SELECT epoch FROM apply_roles(p_group, jsonb_build_object(p_robot, 'active'), 'promoted on request'));
END $$;

CREATE FUNCTION robotgroups.demote(p_group bigint, p_robot text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_active text[];
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM lock_group(p_group);
    v_active := active_robots(p_group);
    IF NOT p_robot = ANY (v_active) THEN
        RAISE EXCEPTION '% is not an active member', p_robot USING ERRCODE = 'RG012';
    END IF;
    IF cardinality(v_active) = 1 THEN
        RAISE EXCEPTION '% is the last active robot: promote another one first', p_robot USING ERRCODE = 'RG005';
    END IF;
    UPDATE groups SET active_target = greatest(active_target - 1, 1) WHERE id = p_group;
    RETURN (SELECT epoch FROM apply_roles(p_group, jsonb_build_object(p_robot, 'passive'), 'demoted on request'));
END $$;

-- Failover on request: replaces p_failed, else an active robot that is not live, else the first declared one.
CREATE FUNCTION robotgroups.failover(p_group bigint, p_failed text, p_detected_by text,
    OUT promoted text, OUT failed text, OUT epoch bigint, OUT revision bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; p presence;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_group(p_group);
    SELECT r.name INTO failed FROM robots r LEFT JOIN presence x ON x.group_id = r.group_id AND x.robot = r.name
        WHERE r.group_id = p_group AND r.role = 'active' AND (p_failed IS NULL OR r.name = p_failed)
        ORDER BY (x.robot IS NOT NULL AND is_responsive(x, g.lease_ms)), r.ordinal, r.name LIMIT 1;
    IF NOT FOUND THEN
        IF p_failed IS NULL THEN RAISE EXCEPTION 'the group has no active robot' USING ERRCODE = 'RG010'; END IF;
        RAISE EXCEPTION '% is not an active member', p_failed USING ERRCODE = 'RG012';
    END IF;
    promoted := choose_candidate(p_group, failed);
    IF promoted IS NULL THEN
        RAISE EXCEPTION 'no warm passive robot can take over from %', failed USING ERRCODE = 'RG004';
    END IF;
    DELETE FROM presence WHERE group_id = p_group AND robot = failed RETURNING * INTO p;
    IF FOUND THEN PERFORM end_sessions(p_group, p.incarnation, p.backend_pid); END IF;
    SELECT a.epoch, a.revision INTO epoch, revision FROM apply_roles(p_group, jsonb_build_object(failed, 'failed', promoted, 'active'),
        'requested', 'failover', failed, promoted, p_detected_by) a;
END $$;

-- Brings the members to what is declared. New names join in their declared role, missing ones leave, a robot whose declared role was
-- edited moves, and roles that failover has moved stay, unless that leaves more active robots than declared.
CREATE FUNCTION robotgroups.reconcile_members(p_group bigint, p_active text[], p_passive text[], OUT joined text[], OUT gone text[], OUT moved text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; v_moves jsonb := '{}'; v_excess integer; r record; p presence;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_group(p_group);
    joined := '{}'; gone := '{}'; moved := '{}';
    UPDATE groups SET active_target = cardinality(p_active) WHERE id = p_group AND active_target <> cardinality(p_active);
    FOR r IN SELECT d.name, d.declared, (d.place - 1)::integer AS place, x.name IS NULL AS is_new, x.role, x.declared_role, x.ordinal
        FROM (SELECT u.name, CASE WHEN u.place <= cardinality(p_active) THEN 'active' ELSE 'passive' END AS declared, u.place
              FROM unnest(p_active || p_passive) WITH ORDINALITY u(name, place)) d
        LEFT JOIN robots x ON x.group_id = p_group AND x.name = d.name ORDER BY d.place
    LOOP
        IF r.is_new THEN
            INSERT INTO robots (group_id, name, ordinal, declared_role, role) VALUES (p_group, r.name, r.place, r.declared, 'passive');
            joined := joined || r.name; v_moves := v_moves || jsonb_build_object(r.name, r.declared);
        ELSIF r.declared <> r.declared_role OR r.place <> r.ordinal THEN
            UPDATE robots SET declared_role = r.declared, ordinal = r.place WHERE group_id = p_group AND name = r.name;
            IF r.declared <> r.declared_role AND r.role <> 'failed' AND r.role <> r.declared THEN
                moved := moved || r.name; v_moves := v_moves || jsonb_build_object(r.name, r.declared);
            END IF;
        END IF;
    END LOOP;
    FOR r IN DELETE FROM robots x WHERE x.group_id = p_group AND NOT x.name = ANY (p_active || p_passive) RETURNING x.name LOOP
        gone := gone || r.name;
        DELETE FROM presence WHERE group_id = p_group AND robot = r.name RETURNING * INTO p;
        IF FOUND THEN PERFORM end_sessions(p_group, p.incarnation, p.backend_pid); END IF;
    END LOOP;
    -- M6: an edited role takes effect by promotion of a warm robot only; until then the edit is not taken as done
    UPDATE robots x SET declared_role = 'passive' WHERE x.group_id = p_group AND x.name = ANY (moved) AND v_moves->>x.name = 'active'
        AND NOT EXISTS (SELECT FROM presence y WHERE y.group_id = p_group AND y.robot = x.name AND y.warm AND is_responsive(y, g.lease_ms));
    SELECT coalesce(jsonb_object_agg(m.key, m.value), '{}') INTO v_moves FROM jsonb_each(v_moves) m
        WHERE m.value <> '"active"' OR m.key = ANY (joined) OR EXISTS (
            SELECT FROM presence x WHERE x.group_id = p_group AND x.robot = m.key AND x.warm AND is_responsive(x, g.lease_ms));
    -- and nobody is demoted while that would leave too few: the next call tries again
    FOR r IN SELECT x.name FROM robots x WHERE x.group_id = p_group AND x.role = 'active' AND v_moves->>x.name = 'passive' ORDER BY x.ordinal LOOP
        EXIT WHEN (SELECT count(*) FROM robots x WHERE x.group_id = p_group AND coalesce(v_moves->>x.name, x.role) = 'active')
            >= cardinality(p_active);
        v_moves := v_moves - r.name; moved := array_remove(moved, r.name);
        UPDATE robots SET declared_role = 'active' WHERE group_id = p_group AND name = r.name;
    END LOOP;
    SELECT count(*) - cardinality(p_active) INTO v_excess FROM robots x
        WHERE x.group_id = p_group AND coalesce(v_moves->>x.name, x.role) = 'active';
    FOR r IN SELECT x.name FROM robots x WHERE x.group_id = p_group AND coalesce(v_moves->>x.name, x.role) = 'active'
        ORDER BY (x.declared_role = 'passive') DESC, (x.name = ANY (joined)) DESC, x.ordinal DESC LIMIT greatest(v_excess, 0) LOOP
        v_moves := v_moves || jsonb_build_object(r.name, 'passive'); moved := moved || r.name;
    END LOOP;
    IF v_moves <> '{}' OR gone <> '{}' THEN
        PERFORM apply_roles(p_group, v_moves, 'declared membership changed');
    END IF;
    PERFORM fill_vacancies(p_group);
END $$;

-- An administrator gives the memory of a deleted namespace's group to the namespace that replaces it.
CREATE FUNCTION robotgroups.adopt_group(p_cluster text, p_namespace_uid text, p_name text, p_new_namespace_uid text) RETURNS bigint
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_id bigint; v_empty bigint;
BEGIN
    SELECT id INTO v_id FROM groups WHERE cluster = p_cluster AND namespace_uid = p_namespace_uid AND name = p_name FOR UPDATE;
    IF NOT FOUND THEN RAISE EXCEPTION 'no group %/% in cluster %', p_namespace_uid, p_name, p_cluster USING ERRCODE = 'RG002'; END IF;
    SELECT id INTO v_empty FROM groups WHERE cluster = p_cluster AND namespace_uid = p_new_namespace_uid AND name = p_name;
    IF FOUND THEN
        RAISE EXCEPTION 'namespace % has a group % already (id %): delete that one first', p_new_namespace_uid, p_name, v_empty USING ERRCODE = 'RG012';
    END IF;
    UPDATE groups SET namespace_uid = p_new_namespace_uid, login = NULL WHERE id = v_id;
    RETURN v_id;
END $$;
