-- Presence: register, beat, withdraw, and the one function that declares a robot failed (R3).

-- Called on the presence session itself: its backend holds the incarnation's advisory lock from here to its end.
-- A failed robot comes back by it, unless p_rejoin is false.
CREATE FUNCTION robotgroups.register(
    p_group bigint, p_robot text, p_incarnation uuid, p_endpoint text, p_replace boolean, p_rejoin boolean,
    OUT role text, OUT tenure bigint, OUT epoch bigint, OUT revision bigint, OUT heartbeat_ms integer, OUT lease_ms integer,
    OUT max_tokens integer, OUT tokenizer text, OUT language text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; r robots; old presence; v_known boolean; v_candidate text; v_returns text;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT * INTO old FROM presence p WHERE p.group_id = p_group AND p.robot = p_robot;
    IF FOUND AND old.incarnation = p_incarnation AND old.backend_pid <> pg_backend_pid() THEN
        PERFORM pg_terminate_backend(old.backend_pid) WHERE is_live(old);  -- our own lost session, half open
    END IF;
    IF NOT FOUND OR old.incarnation <> p_incarnation OR old.backend_pid <> pg_backend_pid() THEN
        PERFORM set_config('lock_timeout', '5s', true);
        PERFORM pg_advisory_lock(presence_lock(p_incarnation, pg_backend_pid()));
    END IF;
    g := lock_group(p_group);
    SELECT * INTO r FROM robots x WHERE x.group_id = p_group AND x.name = p_robot;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'group % has no robot %', g.name, p_robot USING ERRCODE = 'RG003';
    END IF;
    IF r.role = 'failed' AND NOT p_rejoin THEN
        PERFORM pg_advisory_unlock(presence_lock(p_incarnation, pg_backend_pid()));
        RAISE EXCEPTION '% was replaced by failover and stays out until it is added again', p_robot USING ERRCODE = 'RG014';
    END IF;
    SELECT * INTO old FROM presence p WHERE p.group_id = p_group AND p.robot = p_robot;
    v_known := FOUND;
    IF v_known AND old.incarnation <> p_incarnation THEN
        IF is_live(old) AND NOT p_replace THEN
            PERFORM pg_advisory_unlock(presence_lock(p_incarnation, pg_backend_pid()));
            RAISE EXCEPTION 'robot % is hosted elsewhere and alive', p_robot USING ERRCODE = 'RG007', DETAIL = old.endpoint;
        END IF;
        PERFORM end_sessions(p_group, old.incarnation, old.backend_pid);
    END IF;
    -- to register is the first heartbeat: 0 is nobody's, so that who hangs right after it has a lease that ends
    INSERT INTO presence AS p (group_id, robot, incarnation, backend_pid, server_started, endpoint, heartbeat, heartbeat_at, registered_at)
        VALUES (p_group, p_robot, p_incarnation, pg_backend_pid(), server_started(), p_endpoint, 1, clock_timestamp(), clock_timestamp())
        ON CONFLICT (group_id, robot) DO UPDATE SET
            incarnation = excluded.incarnation, backend_pid = excluded.backend_pid, server_started = excluded.server_started,
            endpoint = excluded.endpoint, heartbeat = p.heartbeat + 1, heartbeat_at = excluded.heartbeat_at, registered_at = excluded.registered_at,
            warm = p.warm AND p.incarnation = excluded.incarnation,
            applied_revision = CASE WHEN p.incarnation = excluded.incarnation THEN p.applied_revision ELSE 0 END;
    IF r.role = 'failed' THEN
        v_returns := CASE WHEN cardinality(active_robots(p_group)) < g.active_target THEN 'active' ELSE 'passive' END;
        PERFORM apply_roles(p_group, jsonb_build_object(p_robot, v_returns), 'came back');
    ELSIF r.role = 'active' AND r.incarnation IS NOT NULL AND r.incarnation <> p_incarnation THEN
        -- The dead man's return: the newcomer is the proof that the old one died, if this server saw it and it did not withdraw.
        IF v_known AND old.server_started = server_started() AND NOT g.suspended AND g.failover_mode = 'Automatic' THEN
            v_candidate := choose_candidate(p_group, p_robot);
        END IF;
        IF v_candidate IS NOT NULL THEN
            PERFORM apply_roles(p_group, jsonb_build_object(p_robot, 'passive', v_candidate, 'active'),
                'restarted without handing over', 'failover', p_robot, v_candidate, p_robot);
        ELSE
            PERFORM apply_roles(p_group, jsonb_build_object(p_robot, 'active'), 'came back as a new process');
        END IF;
    END IF;
    UPDATE robots x SET incarnation = p_incarnation, withdrawn_at = NULL WHERE x.group_id = p_group AND x.name = p_robot;
    SELECT x.role, x.tenure, y.epoch, y.revision, y.heartbeat_ms, y.lease_ms, y.max_tokens, y.tokenizer, y.language
        INTO role, tenure, epoch, revision, heartbeat_ms, lease_ms, max_tokens, tokenizer, language
        FROM robots x JOIN groups y ON y.id = x.group_id WHERE x.group_id = p_group AND x.name = p_robot;
END $$;

-- One heartbeat: renews the counter, reports what the cache has applied, and fills a vacancy when this one is warm.
-- "current" is false when this session is not the robot's presence any more: register again.
CREATE FUNCTION robotgroups.beat(
    p_group bigint, p_robot text, p_incarnation uuid, p_applied bigint, p_warm boolean,
    OUT current boolean, OUT revision bigint, OUT epoch bigint, OUT heartbeat bigint, OUT role text, OUT tenure bigint,
    OUT max_tokens integer, OUT heartbeat_ms integer, OUT lease_ms integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_vacant boolean;
BEGIN
    PERFORM assert_may_use(p_group);
    UPDATE presence p SET heartbeat = p.heartbeat + 1, heartbeat_at = clock_timestamp(), applied_revision = p_applied, warm = p_warm
        WHERE p.group_id = p_group AND p.robot = p_robot AND p.incarnation = p_incarnation
            AND p.backend_pid = pg_backend_pid() AND p.server_started = server_started()
        RETURNING p.heartbeat INTO heartbeat;
    current := FOUND;
    SELECT r.role = 'passive' AND p_warm AND g.active_target > cardinality(active_robots(p_group)) INTO v_vacant
        FROM robots r JOIN groups g ON g.id = r.group_id WHERE r.group_id = p_group AND r.name = p_robot;
    IF current AND v_vacant THEN
        -- the others lock the group first and presence second: who waited here for the group could deadlock with them
        PERFORM FROM groups g WHERE g.id = p_group FOR NO KEY UPDATE SKIP LOCKED;
        IF FOUND THEN
            PERFORM lock_group(p_group);
            PERFORM fill_vacancies(p_group);
        END IF;
    END IF;
    SELECT g.revision, g.epoch, r.role, r.tenure, g.max_tokens, g.heartbeat_ms, g.lease_ms
        INTO revision, epoch, role, tenure, max_tokens, heartbeat_ms, lease_ms
        FROM groups g LEFT JOIN robots r ON r.group_id = g.id AND r.name = p_robot WHERE g.id = p_group;
END $$;

-- A clean end of presence: the role stays, and coming back is no dead man's return.
CREATE FUNCTION robotgroups.withdraw(p_group bigint, p_robot text, p_incarnation uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    PERFORM lock_group(p_group);
    DELETE FROM presence WHERE group_id = p_group AND robot = p_robot AND incarnation = p_incarnation;
    IF NOT FOUND THEN RETURN false; END IF;
    UPDATE robots SET withdrawn_at = clock_timestamp() WHERE group_id = p_group AND name = p_robot;
    RETURN true;
END $$;

-- The single place that promotes after a failure. It believes nobody: it looks for the presence lock itself. A caller that has
-- seen the heartbeat's counter unchanged for a lease on its own monotonic clock passes it as p_observed_heartbeat.
CREATE FUNCTION robotgroups.declare_failed(
    p_group bigint, p_robot text, p_incarnation uuid, p_observed_heartbeat bigint, p_reason text, p_detected_by text,
    OUT outcome text, OUT promoted text, OUT epoch bigint, OUT revision bigint, OUT reason text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; r robots; p presence; v_lease interval; v_since timestamptz; v_moves jsonb;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_group(p_group);
    epoch := g.epoch; revision := g.revision; v_lease := make_interval(secs => g.lease_ms / 1000.0);
    SELECT * INTO r FROM robots x WHERE x.group_id = p_group AND x.name = p_robot;
    IF NOT FOUND THEN RAISE EXCEPTION 'group % has no robot %', g.name, p_robot USING ERRCODE = 'RG003'; END IF;
    IF g.suspended THEN outcome := 'suspended'; reason := 'the group is suspended'; RETURN; END IF;
    IF r.role = 'failed' THEN outcome := 'stale'; reason := 'it is failed already'; RETURN; END IF;
    IF g.failover_mode = 'Manual' THEN outcome := 'manual'; reason := 'failover.mode is Manual'; RETURN; END IF;
    SELECT * INTO p FROM presence x WHERE x.group_id = p_group AND x.robot = p_robot;
    IF FOUND THEN
        IF p.incarnation IS DISTINCT FROM p_incarnation THEN
            outcome := 'stale'; reason := 'another incarnation is here'; RETURN;
        END IF;
        IF is_live(p) AND p_observed_heartbeat IS DISTINCT FROM p.heartbeat THEN
            outcome := 'alive'; reason := 'its presence session stands'; RETURN;
        END IF;
    ELSIF p_incarnation IS NOT NULL AND r.incarnation IS DISTINCT FROM p_incarnation THEN
        outcome := 'stale'; reason := 'another incarnation was here'; RETURN;
    END IF;
    -- Nobody seen by this server (never came, withdrew, or the server has just restarted): a lease's time to come back.
    IF p.robot IS NULL OR p.server_started <> server_started() THEN
        v_since := greatest(server_started(), r.joined_at, r.withdrawn_at) + v_lease;
        IF clock_timestamp() < v_since THEN
            outcome := 'grace'; reason := format('it has until %s to come back', v_since); RETURN;
        END IF;
    END IF;
    PERFORM end_sessions(p_group, coalesce(p_incarnation, r.incarnation), p.backend_pid);
    DELETE FROM presence x WHERE x.group_id = p_group AND x.robot = p_robot;
    v_moves := jsonb_build_object(p_robot, 'failed');
    IF r.role = 'active' THEN
        promoted := choose_candidate(p_group, p_robot);
        IF promoted IS NOT NULL THEN
            SELECT a.epoch, a.revision INTO epoch, revision FROM apply_roles(p_group, v_moves || jsonb_build_object(promoted, 'active'),
                p_reason, 'failover', p_robot, promoted, p_detected_by) a;
            outcome := 'promoted'; reason := p_reason; RETURN;
        END IF;
    END IF;
    SELECT a.epoch, a.revision INTO epoch, revision FROM apply_roles(p_group, v_moves, p_reason, p_detected_by => p_detected_by) a;
    outcome := CASE r.role WHEN 'active' THEN 'vacant' ELSE 'failed' END;
    reason := CASE r.role WHEN 'active' THEN 'no warm passive robot; ' || p_reason ELSE p_reason END;
END $$;

-- Planned switchover by an active robot that is about to stop; returns who took over, or NULL when nobody can.
CREATE FUNCTION robotgroups.hand_over(p_group bigint, p_robot text, p_incarnation uuid, p_reason text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; v_candidate text;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_group(p_group);
    -- it is leaving: nobody hands over to it
    UPDATE presence SET warm = false WHERE group_id = p_group AND robot = p_robot AND incarnation = p_incarnation;
    IF NOT FOUND OR g.suspended THEN RETURN NULL; END IF;
    IF NOT p_robot = ANY (active_robots(p_group)) THEN RETURN NULL; END IF;
    v_candidate := choose_candidate(p_group, p_robot);
    IF v_candidate IS NULL THEN RETURN NULL; END IF;
    PERFORM apply_roles(p_group, jsonb_build_object(p_robot, 'passive', v_candidate, 'active'),
        p_reason, 'switchover', p_robot, v_candidate, p_robot);
    RETURN v_candidate;
END $$;
