-- Roles: who may change them and how. Every change of role goes through apply_roles (R1), under the lock of the group's row.
-- Trap: lock the row in one statement and read roles in a later one; a statement that waited sees old rows of other tables.

-- Raises unless the session's login is the group's own or the owner of these functions (S1).
CREATE FUNCTION robotgroups.assert_may_use(p_group bigint) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM groups WHERE id = p_group AND login = session_user) THEN RETURN; END IF;
    IF NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
        RAISE EXCEPTION 'login % may not use group %', session_user, p_group USING ERRCODE = '42501';
    END IF;
END $$;

-- Locks the group's row: from here to the end of the transaction nobody else changes the group.
CREATE FUNCTION robotgroups.lock_group(p_group bigint) RETURNS robotgroups.groups
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups;
BEGIN
    -- M1: whatever the login has set. A SET clause of the function would end before the commit.
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    SELECT * INTO g FROM groups WHERE id = p_group FOR NO KEY UPDATE;
    IF NOT FOUND THEN RAISE EXCEPTION 'no group has id %', p_group USING ERRCODE = 'RG002'; END IF;
    RETURN g;
END $$;

-- The session advisory lock that a robot's presence session holds, and that vanishes with it.
-- The backend is part of its key: nobody can take it beforehand.
CREATE FUNCTION robotgroups.presence_lock(p_incarnation uuid, p_backend integer) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$ SELECT hashtextextended(p_incarnation::text || ' ' || p_backend, 5247) $$;

-- Since when this server has kept presence. Not pg_postmaster_start_time(): when one backend crashes, the postmaster lives on, but ends all the
-- others and empties UNLOGGED tables; its checkpointer starts anew then.
CREATE FUNCTION robotgroups.server_started() RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT coalesce(max(backend_start), pg_postmaster_start_time()) FROM pg_stat_activity WHERE backend_type = 'checkpointer'
$$;

-- Whether the presence session still stands: proof, not a guess (pg_stat_activity keeps a dying backend's row longer than its locks).
CREATE FUNCTION robotgroups.is_live(p robotgroups.presence) RETURNS boolean
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT p.server_started = server_started() AND EXISTS (
        SELECT FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid = p.backend_pid
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND ((l.classid::bigint << 32) | l.objid::bigint) = presence_lock(p.incarnation, p.backend_pid))
$$;

-- Live and beating: a stopped process holds its session, and can do nothing with a role (both times are this server's clock).
CREATE FUNCTION robotgroups.is_responsive(p robotgroups.presence, p_lease_ms integer) RETURNS boolean
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT p.heartbeat_at > clock_timestamp() - make_interval(secs => p_lease_ms / 1000.0) AND is_live(p)
$$;

-- Ends every session of an incarnation but this one: a replaced robot keeps no open statement behind.
CREATE FUNCTION robotgroups.end_sessions(p_group bigint, p_incarnation uuid, p_backend integer) RETURNS integer
LANGUAGE sql SET search_path = robotgroups, pg_temp AS $$
    SELECT count(pg_terminate_backend(pid))::integer FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        -- S1: names can be borrowed; the sessions of another group's login are never ended
        AND usename::text IN (current_user, (SELECT login FROM groups WHERE id = p_group))
        AND (application_name = 'robotgroups ' || p_incarnation
             OR (pid = p_backend AND EXISTS (
                 SELECT FROM pg_locks l WHERE l.pid = p_backend AND l.locktype = 'advisory' AND l.objsubid = 1
                    AND ((l.classid::bigint << 32) | l.objid::bigint) = presence_lock(p_incarnation, p_backend))))
$$;

CREATE FUNCTION robotgroups.announce(p_group bigint, p_revision bigint) RETURNS void
LANGUAGE sql AS $$ SELECT pg_notify('rg_' || p_group, p_revision::text) $$;

-- The whole membership, as role events carry it.
CREATE FUNCTION robotgroups.membership(p_group bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT coalesce(jsonb_object_agg(name, jsonb_build_object(
        'role', role, 'tenure', tenure, 'ordinal', ordinal)), '{}') FROM robots WHERE group_id = p_group
$$;

CREATE FUNCTION robotgroups.active_robots(p_group bigint) RETURNS text[]
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT coalesce(array_agg(name ORDER BY ordinal, name), '{}') FROM robots WHERE group_id = p_group AND role = 'active'
$$;

-- The one place where roles change: a new epoch, a new revision, one event (R1). p_moves: {"robot": "role"}.
-- A robot that becomes (or stays, when named) active starts a new tenure, numbered by the epoch (R2).
CREATE FUNCTION robotgroups.apply_roles(
    p_group bigint, p_moves jsonb, p_reason text, p_kind text DEFAULT NULL, p_source text DEFAULT NULL,
    p_target text DEFAULT NULL, p_detected_by text DEFAULT '', p_detected_at timestamptz DEFAULT NULL,
    OUT epoch bigint, OUT revision bigint)
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_epoch bigint; v_revision bigint;
BEGIN
    UPDATE groups g SET epoch = g.epoch + 1, revision = g.revision + 1 WHERE g.id = p_group
        RETURNING g.epoch, g.revision INTO v_epoch, v_revision;
    UPDATE robots r SET role = m.value,
            tenure = CASE WHEN m.value = 'active' THEN v_epoch ELSE 0 END,
            failed_at = CASE WHEN m.value = 'failed' THEN clock_timestamp() END,
            failed_reason = CASE WHEN m.value = 'failed' THEN p_reason END,
            detected_by = CASE WHEN m.value = 'failed' THEN p_detected_by END
        FROM jsonb_each_text(p_moves) m WHERE r.group_id = p_group AND r.name = m.key;
    INSERT INTO changes (group_id, revision, kind, epoch, robot, payload)
        VALUES (p_group, v_revision, 'role', v_epoch, p_target, jsonb_build_object(
            'roles', membership(p_group), 'reason', p_reason, 'kind', p_kind, 'from', p_source, 'to', p_target));
    IF p_kind IS NOT NULL THEN
        INSERT INTO failovers (group_id, kind, source, target, reason, detected_by, epoch, revision, detected_at, promoted_at)
            VALUES (p_group, p_kind, p_source, p_target, p_reason, p_detected_by, v_epoch, v_revision,
                coalesce(p_detected_at, statement_timestamp()), clock_timestamp());
    END IF;
    PERFORM announce(p_group, v_revision);
    epoch := v_epoch; revision := v_revision;
END $$;

-- Who is promoted: the warm, live passive with the highest applied revision, then the declared order (M6). NULL: nobody.
CREATE FUNCTION robotgroups.choose_candidate(p_group bigint, p_except text) RETURNS text
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT r.name FROM robots r JOIN presence p ON p.group_id = r.group_id AND p.robot = r.name
        JOIN groups g ON g.id = r.group_id
    WHERE r.group_id = p_group AND r.role = 'passive' AND r.name IS DISTINCT FROM p_except AND p.warm
        AND is_responsive(p, g.lease_ms)
    ORDER BY p.applied_revision DESC, r.ordinal, r.name LIMIT 1
$$;

-- Fills vacancies (fewer active robots than active_target) with warm passives; returns the last one promoted, or NULL.
CREATE FUNCTION robotgroups.fill_vacancies(p_group bigint) RETURNS text
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_target integer; v_candidate text; v_promoted text; f robots;
BEGIN
    SELECT active_target INTO v_target FROM groups WHERE id = p_group AND NOT suspended AND failover_mode = 'Automatic';
    WHILE cardinality(active_robots(p_group)) < v_target LOOP
        v_candidate := choose_candidate(p_group, NULL);
        EXIT WHEN v_candidate IS NULL;
        -- the vacancy is of the robot that failed first and is not yet in a failover's row
        SELECT * INTO f FROM robots r WHERE r.group_id = p_group AND r.role = 'failed'
            AND NOT EXISTS (SELECT FROM failovers x WHERE x.group_id = p_group AND x.source = r.name AND x.promoted_at >= r.failed_at)
            ORDER BY r.failed_at, r.ordinal LIMIT 1;
        IF FOUND THEN
            PERFORM apply_roles(p_group, jsonb_build_object(v_candidate, 'active'), coalesce(f.failed_reason, 'vacancy'), 'failover', f.name,
                v_candidate, coalesce(f.detected_by, ''), f.failed_at);
        ELSE
            PERFORM apply_roles(p_group, jsonb_build_object(v_candidate, 'active'), 'fills a vacancy');
        END IF;
        v_promoted := v_candidate;
    END LOOP;
    RETURN v_promoted;
END $$;
