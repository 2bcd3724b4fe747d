-- The proof of life is asked for most when it has to be quick.

-- Whether the presence session still stands. The lock's key has the incarnation and the backend's pid, and locks end with their
-- server: whoever holds it now has registered here, so that it need not be asked when the server started.
CREATE OR REPLACE FUNCTION robotgroups.is_live(p robotgroups.presence) RETURNS boolean
LANGUAGE sql STABLE SET search_path = robotgroups, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid = p.backend_pid
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND ((l.classid::bigint << 32) | l.objid::bigint) = presence_lock(p.incarnation, p.backend_pid))
$$;

-- As before, in less time: the start of the server is read only where it matters, and the dead robot's sessions are told to end when all the
-- rest is done. They can write nothing meanwhile: each write waits for the group's row, and finds another tenure then (R2). Ten of
-- them that end at once would take the processor from whoever promotes.
CREATE OR REPLACE FUNCTION robotgroups.declare_failed(
    p_group bigint, p_robot text, p_incarnation uuid, p_observed_heartbeat bigint, p_reason text, p_detected_by text,
    OUT outcome text, OUT promoted text, OUT epoch bigint, OUT revision bigint, OUT reason text, OUT retry_ms integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; r robots; p presence; v_since timestamptz; v_until timestamptz; v_moves jsonb; v_waits text;
BEGIN
    PERFORM assert_may_use(p_group);
    g := notice_server(lock_group(p_group));
    epoch := g.epoch; revision := g.revision;
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
    -- a crash of this server empties presence; what is older than its start has outlived a clean restart (both are this server's clock)
    IF p.robot IS NULL OR p.server_started < pg_postmaster_start_time() THEN
        -- Nobody seen by this server (never came, withdrew, or the server has just restarted or taken over): a lease's time to come back.
        v_since := greatest(server_started(), g.timeline_since, r.joined_at, r.withdrawn_at);
        v_until := v_since + make_interval(secs => g.lease_ms / 1000.0);
        IF clock_timestamp() < v_until THEN outcome := 'grace'; reason := format('it has until %s to come back', v_until); END IF;
        v_until := greatest(v_until, v_since + delay_of(g, r));
    ELSIF g.failover_delay_ms > 0 AND delay_of(g, r) > '0' THEN
        v_since := suspected_since(r, p);
        IF v_since IS NULL THEN
            UPDATE robots x SET suspected_at = clock_timestamp(), suspected_incarnation = p.incarnation, suspected_heartbeat = p.heartbeat
                WHERE x.group_id = p_group AND x.name = p_robot RETURNING x.suspected_at INTO v_since;
        END IF;
        v_until := v_since + delay_of(g, r);
    END IF;
    IF clock_timestamp() < v_until THEN
        retry_ms := ceil(extract(epoch FROM v_until - clock_timestamp()) * 1000);
        IF outcome IS NULL THEN outcome := 'delayed'; reason := format('failover.delay gives it until %s to come back', v_until); END IF;
        RETURN;
    END IF;
    DELETE FROM presence x WHERE x.group_id = p_group AND x.robot = p_robot;
    IF p.robot IS NOT NULL THEN PERFORM note_failure(p_group, p_robot); ELSE v_since := NULL; END IF;
    v_moves := jsonb_build_object(p_robot, 'failed');
    IF r.role = 'active' THEN
        promoted := choose_candidate(p_group, p_robot);
        IF promoted IS NOT NULL THEN
            SELECT a.epoch, a.revision INTO epoch, revision FROM apply_roles(p_group, v_moves || jsonb_build_object(promoted, 'active'),
                p_reason, 'failover', p_robot, promoted, p_detected_by, v_since) a;
            PERFORM end_sessions(p_group, coalesce(p_incarnation, r.incarnation), p.backend_pid);
            outcome := 'promoted'; reason := p_reason; RETURN;
        END IF;
    END IF;
    SELECT a.epoch, a.revision INTO epoch, revision FROM apply_roles(p_group, v_moves, p_reason, p_detected_by => p_detected_by, p_detected_at => v_since) a;
    PERFORM end_sessions(p_group, coalesce(p_incarnation, r.incarnation), p.backend_pid);
    outcome := CASE r.role WHEN 'active' THEN 'vacant' ELSE 'failed' END;
    v_waits := choose_candidate(p_group, p_robot, true);
    reason := CASE WHEN r.role <> 'active' THEN p_reason WHEN v_waits IS NULL THEN 'no warm passive robot; ' || p_reason
        ELSE format('%s keeps crashing and has to stand for a lease first; %s', v_waits, p_reason) END;
END $$;

-- As before, without reading pg_stat_activity: with many robots each heartbeat read of all of them.
CREATE OR REPLACE FUNCTION robotgroups.beat(
    p_group bigint, p_robot text, p_incarnation uuid, p_applied bigint, p_warm boolean,
    OUT current boolean, OUT revision bigint, OUT epoch bigint, OUT heartbeat bigint, OUT role text, OUT tenure bigint,
    OUT max_tokens integer, OUT heartbeat_ms integer, OUT lease_ms integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_vacant boolean; v_back boolean;
BEGIN
    PERFORM assert_may_use(p_group);
    UPDATE presence p SET heartbeat = p.heartbeat + 1, heartbeat_at = clock_timestamp(), applied_revision = p_applied, warm = p_warm,
            steady_since = CASE WHEN p_warm AND p_applied >= p.told_revision THEN coalesce(p.steady_since, clock_timestamp()) END,
            told_revision = (SELECT g.revision FROM groups g WHERE g.id = p_group)
        WHERE p.group_id = p_group AND p.robot = p_robot AND p.incarnation = p_incarnation
            AND p.backend_pid = pg_backend_pid() AND p.server_started >= pg_postmaster_start_time()
        RETURNING p.heartbeat INTO heartbeat;
    current := FOUND;
    SELECT r.role = 'passive' AND p_warm AND g.active_target > cardinality(active_robots(p_group)),
            r.role = 'passive' AND p_warm AND r.displaced_at IS NOT NULL AND r.declared_role = 'active' AND g.failback = 'Preferred'
        INTO v_vacant, v_back FROM robots r JOIN groups g ON g.id = r.group_id WHERE r.group_id = p_group AND r.name = p_robot;
    IF current AND (v_vacant OR v_back AND stand_in(p_group, p_robot) IS NOT NULL) THEN
        -- the others lock the group first and presence second: who waited here for the group could deadlock with them
        PERFORM FROM groups g WHERE g.id = p_group FOR NO KEY UPDATE SKIP LOCKED;
        IF FOUND THEN
            PERFORM lock_group(p_group);
            PERFORM fill_vacancies(p_group);
            PERFORM fail_back(p_group, p_robot);
        END IF;
    END IF;
    SELECT g.revision, g.epoch, r.role, r.tenure, g.max_tokens, g.heartbeat_ms, g.lease_ms
        INTO revision, epoch, role, tenure, max_tokens, heartbeat_ms, lease_ms
        FROM groups g LEFT JOIN robots r ON r.group_id = g.id AND r.name = p_robot WHERE g.id = p_group;
END $$;

-- As before; a session that happens to have the pid that the incarnation had before Postgres restarted takes the lock, too.
CREATE OR REPLACE FUNCTION robotgroups.register(
    p_group bigint, p_robot text, p_incarnation uuid, p_endpoint text, p_replace boolean, p_rejoin boolean,
    OUT role text, OUT tenure bigint, OUT epoch bigint, OUT revision bigint, OUT heartbeat_ms integer, OUT lease_ms integer,
    OUT max_tokens integer, OUT tokenizer text, OUT language text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; r robots; old presence; v_known boolean; v_candidate text; v_returns text; v_suspected timestamptz;
BEGIN
    PERFORM assert_may_use(p_group);
    SELECT * INTO old FROM presence p WHERE p.group_id = p_group AND p.robot = p_robot;
    IF FOUND AND old.incarnation = p_incarnation AND old.backend_pid <> pg_backend_pid() THEN
        PERFORM pg_terminate_backend(old.backend_pid) WHERE is_live(old);  -- our own lost session, half open
    END IF;
    IF NOT FOUND OR old.incarnation <> p_incarnation OR old.backend_pid <> pg_backend_pid() OR old.server_started < pg_postmaster_start_time() THEN
        PERFORM set_config('lock_timeout', '5s', true);
        PERFORM pg_advisory_lock(presence_lock(p_incarnation, pg_backend_pid()));
    END IF;
    g := notice_server(lock_group(p_group));
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
        IF is_live(old) THEN
            IF NOT p_replace THEN
                PERFORM pg_advisory_unlock(presence_lock(p_incarnation, pg_backend_pid()));
                RAISE EXCEPTION 'robot % is hosted elsewhere and alive', p_robot USING ERRCODE = 'RG007', DETAIL = old.endpoint;
            END IF;
        ELSIF old.server_started = server_started() THEN
            r := note_failure(p_group, p_robot);
        END IF;
        PERFORM end_sessions(p_group, old.incarnation, old.backend_pid);
    END IF;
    -- to register is the first heartbeat: 0 is nobody's, so that who hangs right after it has a lease that ends
    INSERT INTO presence AS p (group_id, robot, incarnation, backend_pid, server_started, endpoint, heartbeat, heartbeat_at, registered_at)
        VALUES (p_group, p_robot, p_incarnation, pg_backend_pid(), server_started(), p_endpoint, 1, clock_timestamp(), clock_timestamp())
        ON CONFLICT (group_id, robot) DO UPDATE SET
            incarnation = excluded.incarnation, backend_pid = excluded.backend_pid, server_started = excluded.server_started,
            endpoint = excluded.endpoint, heartbeat = p.heartbeat + 1, heartbeat_at = excluded.heartbeat_at, registered_at = excluded.registered_at,
            warm = p.warm AND p.incarnation = excluded.incarnation, steady_since = NULL,
            applied_revision = CASE WHEN p.incarnation = excluded.incarnation THEN p.applied_revision ELSE 0 END;
    IF r.role = 'failed' THEN
        v_returns := CASE WHEN cardinality(active_robots(p_group)) < g.active_target THEN 'active' ELSE 'passive' END;
        PERFORM apply_roles(p_group, jsonb_build_object(p_robot, v_returns), 'came back');
    ELSIF r.role = 'active' AND r.incarnation IS NOT NULL AND r.incarnation <> p_incarnation THEN
        -- The dead man's return: the newcomer is the proof that the old one died, if this server saw it and it did not withdraw. Within the delay it keeps its role.
        IF v_known AND old.server_started = server_started() AND NOT g.suspended AND g.failover_mode = 'Automatic' THEN
            v_suspected := suspected_since(r, old);
            IF coalesce(v_suspected, clock_timestamp()) + delay_of(g, r) <= clock_timestamp() THEN
                v_candidate := choose_candidate(p_group, p_robot);
            END IF;
        END IF;
        IF v_candidate IS NOT NULL THEN
            PERFORM apply_roles(p_group, jsonb_build_object(p_robot, 'passive', v_candidate, 'active'),
                'restarted without handing over', 'failover', p_robot, v_candidate, p_robot, v_suspected);
        ELSE
            PERFORM apply_roles(p_group, jsonb_build_object(p_robot, 'active'), 'came back as a new process');
        END IF;
    END IF;
    UPDATE robots x SET incarnation = p_incarnation, withdrawn_at = NULL WHERE x.group_id = p_group AND x.name = p_robot;
    SELECT x.role, x.tenure, y.epoch, y.revision, y.heartbeat_ms, y.lease_ms, y.max_tokens, y.tokenizer, y.language
        INTO role, tenure, epoch, revision, heartbeat_ms, lease_ms, max_tokens, tokenizer, language
        FROM robots x JOIN groups y ON y.id = x.group_id WHERE x.group_id = p_group AND x.name = p_robot;
END $$;
