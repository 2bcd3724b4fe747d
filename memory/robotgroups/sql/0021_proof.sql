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
    -- a crash of this server empties presence; what is older than its start has outlived a clean restart
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
