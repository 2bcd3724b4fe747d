-- The policy of failover: how long a death is waited out (delay), what flapping costs (cooldown), who gets a place back (failback), and what a promoted
-- standby server begins anew (timeline). In words: docs/failover.md, "Policy".

ALTER TABLE robotgroups.groups
    ADD COLUMN failover_delay_ms integer NOT NULL DEFAULT 0,
    ADD COLUMN failover_cooldown_ms integer NOT NULL DEFAULT 30000,
    ADD COLUMN failback text NOT NULL DEFAULT 'Never',
    ADD COLUMN timeline integer,
    ADD COLUMN timeline_since timestamptz;
COMMENT ON COLUMN robotgroups.groups.timeline IS 'the timeline of the Postgres server under which a robot registered last; another one is another server: a promoted standby, or a restored backup';
COMMENT ON COLUMN robotgroups.groups.timeline_since IS 'when that was first seen to be another one than before';

ALTER TABLE robotgroups.robots
    ADD COLUMN failures timestamptz[] NOT NULL DEFAULT '{}',
    ADD COLUMN displaced_at timestamptz,
    ADD COLUMN suspected_at timestamptz,
    ADD COLUMN suspected_incarnation uuid,
    ADD COLUMN suspected_heartbeat bigint;
COMMENT ON COLUMN robotgroups.robots.failures IS 'when it died the last three times, oldest first';
COMMENT ON COLUMN robotgroups.robots.displaced_at IS 'since when another robot has the active role that it lost by a failover or a switchover';
COMMENT ON COLUMN robotgroups.robots.suspected_at IS 'when this incarnation was first found dead at this heartbeat, while failover_delay_ms is waited out';

ALTER TABLE robotgroups.presence
    ADD COLUMN steady_since timestamptz,
    ADD COLUMN told_revision bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN robotgroups.presence.steady_since IS 'since when each heartbeat said: warm, and not behind what the one before it was told';
COMMENT ON COLUMN robotgroups.presence.told_revision IS 'the revision that the last heartbeat was told';

-- Settings ---------------------------------------------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION robotgroups.check_group() RETURNS trigger
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_wrong text := CASE
    WHEN NEW.name = '' THEN 'name'
    WHEN NEW.max_tokens < 1 THEN 'max_tokens'
    WHEN NEW.retention NOT IN ('Retain', 'Delete') THEN 'retention'
    WHEN NEW.failover_mode NOT IN ('Automatic', 'Manual') THEN 'failover_mode'
    WHEN NEW.heartbeat_ms < 10 THEN 'heartbeat_ms'
    WHEN NEW.lease_ms < 3 * NEW.heartbeat_ms THEN 'lease_ms'
    WHEN NEW.failover_delay_ms < 0 THEN 'failover_delay_ms'
    WHEN NEW.failover_cooldown_ms < 0 THEN 'failover_cooldown_ms'
    WHEN NEW.failback NOT IN ('Never', 'Preferred') THEN 'failback'
    WHEN NEW.active_target < 0 THEN 'active_target'
    WHEN NEW.eviction NOT IN ('balanced', 'lru', 'lfu', 'fifo') THEN 'eviction'
    WHEN NEW.expire_after_s <= 0 THEN 'expire_after_s'
    WHEN NEW.keep_memories <= 0 THEN 'keep_memories' END;
BEGIN
    IF v_wrong IS NOT NULL THEN
        RAISE EXCEPTION '% of group % cannot be %', v_wrong, NEW.name, to_jsonb(NEW)->v_wrong USING ERRCODE = 'check_violation', CONSTRAINT = 'groups_' || v_wrong || '_check';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER check_group ON robotgroups.groups;
CREATE TRIGGER check_group BEFORE INSERT OR UPDATE OF name, max_tokens, retention, failover_mode, heartbeat_ms, lease_ms, failover_delay_ms, failover_cooldown_ms,
    failback, active_target, eviction, expire_after_s, keep_memories ON robotgroups.groups FOR EACH ROW EXECUTE FUNCTION robotgroups.check_group();

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
    -- no revision: whoever hears what it has applied already asks for the settings, with a heartbeat
    PERFORM announce(v_id, (SELECT revision FROM groups WHERE id = v_id));
    IF n.language <> g.language THEN
        UPDATE lexemes l SET lexemes = to_tsvector(n.language::regconfig, m.content) FROM memories m
            WHERE l.space_id = g.space_id AND m.id = l.memory_id;
    END IF;
    RETURN v_id;
END $$;

CREATE OR REPLACE FUNCTION robotgroups.export_header(p_group bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = robotgroups, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    RETURN (SELECT jsonb_build_object(
            'group', jsonb_build_object('cluster', g.cluster, 'namespace_uid', g.namespace_uid, 'name', g.name, 'created_at', g.created_at),
            'settings', jsonb_build_object('max_tokens', g.max_tokens, 'language', g.language, 'tokenizer', g.tokenizer, 'heartbeat_ms', g.heartbeat_ms,
                'lease_ms', g.lease_ms, 'failover_mode', g.failover_mode, 'failover_delay_ms', g.failover_delay_ms,
                'failover_cooldown_ms', g.failover_cooldown_ms, 'failback', g.failback, 'retention', g.retention, 'space', s.name, 'eviction', g.eviction,
                'expire_after_s', g.expire_after_s, 'keep_memories', g.keep_memories, 'embedding', g.embedding, 'extraction', g.extraction),
            'up_to', (SELECT coalesce(max(m.id), 0) FROM memories m WHERE m.space_id = s.id),
            'memories', (SELECT count(*) FROM memories m WHERE m.space_id = s.id),
            'model', (SELECT jsonb_build_object('id', e.id, 'provider', e.provider, 'model', e.model, 'dimensions', e.dimensions)
                FROM embedding_models e WHERE e.id = s.serving_model),
            'exported_at', now())
        FROM groups g JOIN spaces s ON s.id = g.space_id WHERE g.id = p_group);
END $$;

-- Roles ------------------------------------------------------------------------------------------------------------------------------------------------------

-- The one place where roles change: a new epoch, a new revision, one event (R1). p_moves: {"robot": "role"}.
-- A robot that becomes (or stays, when named) active starts a new tenure, numbered by the epoch (R2).
CREATE OR REPLACE FUNCTION robotgroups.apply_roles(
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
            failed_at = CASE WHEN m.value = 'failed' THEN coalesce(p_detected_at, clock_timestamp()) END,
            failed_reason = CASE WHEN m.value = 'failed' THEN p_reason END,
            detected_by = CASE WHEN m.value = 'failed' THEN p_detected_by END,
            -- who was demoted on request has no place to get back
            displaced_at = CASE WHEN m.value = 'active' THEN NULL
                WHEN r.role = 'active' THEN CASE WHEN m.value = 'failed' OR p_kind IS NOT NULL THEN clock_timestamp() END
                ELSE r.displaced_at END,
            suspected_at = NULL, suspected_incarnation = NULL, suspected_heartbeat = NULL
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

-- Takes note of a death. Whoever was replaced on request, or did not come, has not died.
CREATE FUNCTION robotgroups.note_failure(p_group bigint, p_robot text) RETURNS robotgroups.robots
LANGUAGE sql SET search_path = robotgroups, pg_temp AS $$
    UPDATE robots SET failures = (failures || clock_timestamp())[greatest(cardinality(failures) - 1, 1):] WHERE group_id = p_group AND name = p_robot RETURNING *
$$;

CREATE FUNCTION robotgroups.last_failure(r robotgroups.robots) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$ SELECT r.failures[cardinality(r.failures)] $$;

-- Whether it has failed within the cooldown.
CREATE FUNCTION robotgroups.failed_lately(r robotgroups.robots, p_cooldown_ms integer) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = robotgroups, pg_temp AS $$
    SELECT coalesce(last_failure(r) > clock_timestamp() - make_interval(secs => p_cooldown_ms / 1000.0), false)
$$;

-- Whether it keeps crashing: it has failed three times within one cooldown, and has not gone a whole one without failing since.
CREATE FUNCTION robotgroups.keeps_crashing(r robotgroups.robots, p_cooldown_ms integer) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = robotgroups, pg_temp AS $$
    SELECT cardinality(r.failures) = 3 AND failed_lately(r, p_cooldown_ms) AND r.failures[1] > last_failure(r) - make_interval(secs => p_cooldown_ms / 1000.0)
$$;

-- Who is promoted: the warm, live passive with the highest applied revision, then the declared order (M6); before it whoever has not failed lately, behind it
-- whoever keeps crashing, and that one only when it has stood for a lease, unless p_any. NULL: nobody.
CREATE FUNCTION robotgroups.choose_candidate(p_group bigint, p_except text, p_any boolean) RETURNS text
LANGUAGE sql VOLATILE SET search_path = robotgroups, pg_temp AS $$
    SELECT r.name FROM robots r JOIN presence p ON p.group_id = r.group_id AND p.robot = r.name
        JOIN groups g ON g.id = r.group_id
    WHERE r.group_id = p_group AND r.role = 'passive' AND r.name IS DISTINCT FROM p_except AND p.warm
        AND is_responsive(p, g.lease_ms)
        AND (p_any OR NOT keeps_crashing(r, g.failover_cooldown_ms) OR p.registered_at < clock_timestamp() - make_interval(secs => g.lease_ms / 1000.0))
    ORDER BY keeps_crashing(r, g.failover_cooldown_ms), failed_lately(r, g.failover_cooldown_ms), p.applied_revision DESC, r.ordinal, r.name LIMIT 1
$$;

-- As above, for what nobody asked for.
CREATE OR REPLACE FUNCTION robotgroups.choose_candidate(p_group bigint, p_except text) RETURNS text
LANGUAGE sql VOLATILE SET search_path = robotgroups, pg_temp AS $$ SELECT choose_candidate(p_group, p_except, false) $$;

-- Another server -----------------------------------------------------------------------------------------------------------------------------------------------

-- The timeline that this server writes. Not pg_control_checkpoint(): that tells the last checkpoint's, which a server just promoted has yet to make.
CREATE FUNCTION robotgroups.server_timeline() RETURNS integer
LANGUAGE sql VOLATILE AS $$ SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer $$;

-- Under the lock of the group's row: when another server has taken over (a promoted standby, a restored backup) everything begins anew. What the lost server
-- acknowledged last may never have arrived here, so that epochs, tenures and revisions would be given out a second time: all leap ahead of what it can have
-- reached, caches find that they are behind what was pruned and start from a snapshot, and the active robots get new tenures. Returns the group's row.
CREATE FUNCTION robotgroups.notice_server(g robotgroups.groups) RETURNS robotgroups.groups
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_timeline integer := server_timeline();
BEGIN
    IF g.timeline = v_timeline THEN RETURN g; END IF;
    IF g.timeline IS NULL THEN
        UPDATE groups SET timeline = v_timeline WHERE id = g.id RETURNING * INTO g;
        RETURN g;
    END IF;
    DELETE FROM changes WHERE group_id = g.id;
    UPDATE groups x SET timeline = v_timeline, timeline_since = clock_timestamp(), epoch = (x.epoch / 1000 + 1) * 1000,
        revision = (x.revision / 1000000000 + 1) * 1000000000, pruned_to = (x.revision / 1000000000 + 1) * 1000000000 WHERE x.id = g.id;
    PERFORM apply_roles(g.id, (SELECT coalesce(jsonb_object_agg(name, 'active'), '{}') FROM robots WHERE group_id = g.id AND role = 'active'),
        format('another Postgres server took over: timeline %s after %s', v_timeline, g.timeline));
    SELECT * INTO g FROM groups WHERE id = g.id;
    RETURN g;
END $$;

-- Presence -----------------------------------------------------------------------------------------------------------------------------------------------------

-- Called on the presence session itself: its backend holds the incarnation's advisory lock from here to its end.
-- A failed robot comes back by it, unless p_rejoin is false.
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
    IF NOT FOUND OR old.incarnation <> p_incarnation OR old.backend_pid <> pg_backend_pid() THEN
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

-- How long a robot's death is waited out: not at all for one that is passive or keeps crashing.
CREATE FUNCTION robotgroups.delay_of(g robotgroups.groups, r robotgroups.robots) RETURNS interval
LANGUAGE sql VOLATILE SET search_path = robotgroups, pg_temp AS $$
    SELECT CASE WHEN r.role = 'active' AND NOT keeps_crashing(r, g.failover_cooldown_ms) THEN make_interval(secs => g.failover_delay_ms / 1000.0) ELSE '0' END
$$;

-- Since when this presence has been known to be dead; NULL when nobody has said so yet, or it has beaten since.
CREATE FUNCTION robotgroups.suspected_since(r robotgroups.robots, p robotgroups.presence) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN (r.suspected_incarnation, r.suspected_heartbeat) = (p.incarnation, p.heartbeat) THEN r.suspected_at END
$$;

-- The single place that promotes after a failure. It believes nobody: it looks for the presence lock itself. A caller that has
-- seen the heartbeat's counter unchanged for a lease on its own monotonic clock passes it as p_observed_heartbeat.
-- retry_ms: in how many milliseconds it can be declared failed if it does not come back (grace, delayed).
DROP FUNCTION robotgroups.declare_failed(bigint, text, uuid, bigint, text, text);
CREATE FUNCTION robotgroups.declare_failed(
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
    IF p.robot IS NULL OR p.server_started <> server_started() THEN
        -- Nobody seen by this server (never came, withdrew, or the server has just restarted or taken over): a lease's time to come back.
        v_since := greatest(server_started(), g.timeline_since, r.joined_at, r.withdrawn_at);
        v_until := v_since + make_interval(secs => g.lease_ms / 1000.0);
        IF clock_timestamp() < v_until THEN outcome := 'grace'; reason := format('it has until %s to come back', v_until); END IF;
        v_until := greatest(v_until, v_since + delay_of(g, r));
    ELSIF delay_of(g, r) > '0' THEN
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
    PERFORM end_sessions(p_group, coalesce(p_incarnation, r.incarnation), p.backend_pid);
    DELETE FROM presence x WHERE x.group_id = p_group AND x.robot = p_robot;
    IF p.robot IS NOT NULL THEN PERFORM note_failure(p_group, p_robot); ELSE v_since := NULL; END IF;
    v_moves := jsonb_build_object(p_robot, 'failed');
    IF r.role = 'active' THEN
        promoted := choose_candidate(p_group, p_robot);
        IF promoted IS NOT NULL THEN
            SELECT a.epoch, a.revision INTO epoch, revision FROM apply_roles(p_group, v_moves || jsonb_build_object(promoted, 'active'),
                p_reason, 'failover', p_robot, promoted, p_detected_by, v_since) a;
            outcome := 'promoted'; reason := p_reason; RETURN;
        END IF;
    END IF;
    SELECT a.epoch, a.revision INTO epoch, revision FROM apply_roles(p_group, v_moves, p_reason, p_detected_by => p_detected_by, p_detected_at => v_since) a;
    outcome := CASE r.role WHEN 'active' THEN 'vacant' ELSE 'failed' END;
    v_waits := choose_candidate(p_group, p_robot, true);
    reason := CASE WHEN r.role <> 'active' THEN p_reason WHEN v_waits IS NULL THEN 'no warm passive robot; ' || p_reason
        ELSE format('%s keeps crashing and has to stand for a lease first; %s', v_waits, p_reason) END;
END $$;

-- One heartbeat: renews the counter, reports what the cache has applied, and, when this one is warm, fills a vacancy or takes the robot's place back.
-- "current" is false when this session is not the robot's presence any more: register again.
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
            AND p.backend_pid = pg_backend_pid() AND p.server_started = server_started()
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

-- Failback -----------------------------------------------------------------------------------------------------------------------------------------------------

-- The robot whose place is to go back to p_robot now; NULL when it is not time, or not to be. It has to be declared active, displaced, steady for a lease, and a
-- cooldown away from its own last failure and the group's last failover or switchover. Who took its place goes first, then whoever was promoted last.
CREATE FUNCTION robotgroups.stand_in(p_group bigint, p_robot text) RETURNS text
LANGUAGE sql VOLATILE SET search_path = robotgroups, pg_temp AS $$
    SELECT x.name FROM groups g JOIN robots r ON r.group_id = g.id AND r.name = p_robot JOIN presence p ON p.group_id = g.id AND p.robot = r.name
        JOIN robots x ON x.group_id = g.id
    WHERE g.id = p_group AND g.failback = 'Preferred' AND g.failover_mode = 'Automatic' AND NOT g.suspended
        AND r.role = 'passive' AND r.declared_role = 'active' AND r.displaced_at IS NOT NULL
        AND p.warm AND p.steady_since < clock_timestamp() - make_interval(secs => g.lease_ms / 1000.0)
        AND NOT failed_lately(r, g.failover_cooldown_ms)
        AND NOT EXISTS (SELECT FROM failovers f WHERE f.group_id = g.id
            AND f.promoted_at > clock_timestamp() - make_interval(secs => g.failover_cooldown_ms / 1000.0))
        AND x.role = 'active' AND x.declared_role = 'passive'
    ORDER BY EXISTS (SELECT FROM failovers f WHERE f.group_id = g.id AND f.source = r.name AND f.target = x.name AND f.promoted_at >= r.displaced_at) DESC,
        x.tenure DESC, x.name LIMIT 1
$$;

-- Under the lock of the group's row: a planned switchover to the robot that is declared active. NULL: it is not time.
CREATE FUNCTION robotgroups.fail_back(p_group bigint, p_robot text) RETURNS text
LANGUAGE plpgsql SET search_path = robotgroups, pg_temp AS $$
DECLARE v_from text := stand_in(p_group, p_robot);
BEGIN
    IF v_from IS NOT NULL THEN
        PERFORM apply_roles(p_group, jsonb_build_object(v_from, 'passive', p_robot, 'active'), 'failback', 'switchover', v_from, p_robot, p_robot);
    END IF;
    RETURN v_from;
END $$;

-- On request -----------------------------------------------------------------------------------------------------------------------------------------------------

-- Planned switchover from an active robot that is about to stop; returns who took over, or NULL when nobody can. p_asked_by: who wants it, if not the robot.
DROP FUNCTION robotgroups.hand_over(bigint, text, uuid, text);
CREATE FUNCTION robotgroups.hand_over(p_group bigint, p_robot text, p_incarnation uuid, p_reason text, p_asked_by text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; v_candidate text;
BEGIN
    PERFORM assert_may_use(p_group);
    g := lock_group(p_group);
    -- it is leaving: nobody hands over to it
    UPDATE presence SET warm = false WHERE group_id = p_group AND robot = p_robot AND incarnation = p_incarnation;
    IF NOT FOUND OR g.suspended THEN RETURN NULL; END IF;
    IF NOT p_robot = ANY (active_robots(p_group)) THEN RETURN NULL; END IF;
    v_candidate := choose_candidate(p_group, p_robot, true);
    IF v_candidate IS NULL THEN RETURN NULL; END IF;
    PERFORM apply_roles(p_group, jsonb_build_object(p_robot, 'passive', v_candidate, 'active'),
        p_reason, 'switchover', p_robot, v_candidate, coalesce(p_asked_by, p_robot));
    RETURN v_candidate;
END $$;

-- Failover on request: replaces p_failed, else an active robot that is not live, else the first declared one.
CREATE OR REPLACE FUNCTION robotgroups.failover(p_group bigint, p_failed text, p_detected_by text,
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
    promoted := choose_candidate(p_group, failed, true);
    IF promoted IS NULL THEN
        RAISE EXCEPTION 'no warm passive robot can take over from %', failed USING ERRCODE = 'RG004';
    END IF;
    DELETE FROM presence WHERE group_id = p_group AND robot = failed RETURNING * INTO p;
    IF FOUND THEN PERFORM end_sessions(p_group, p.incarnation, p.backend_pid); END IF;
    SELECT a.epoch, a.revision INTO epoch, revision FROM apply_roles(p_group, jsonb_build_object(failed, 'failed', promoted, 'active'),
        'requested', 'failover', failed, promoted, p_detected_by) a;
END $$;

DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('note_failure', 'last_failure', 'failed_lately', 'keeps_crashing', 'choose_candidate', 'server_timeline',
            'notice_server', 'delay_of', 'suspected_since', 'declare_failed', 'hand_over', 'stand_in', 'fail_back')
    LOOP EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f); END LOOP;
    GRANT EXECUTE ON FUNCTION robotgroups.declare_failed(bigint, text, uuid, bigint, text, text), robotgroups.hand_over(bigint, text, uuid, text, text)
        TO robotgroups_robot;
END $$;
