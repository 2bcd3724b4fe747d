-- Robots find each other's deaths themselves: who is present, where its doorbell hangs, and how its heartbeat stands.

ALTER TABLE robotgroups.presence ADD COLUMN doorbell text NOT NULL DEFAULT '';
COMMENT ON COLUMN robotgroups.presence.doorbell IS 'host:port at which its process holds connections open; a hint of its death, never proof';

-- Robots listen to who comes and goes apart from what is remembered: a heartbeat asks then.
CREATE FUNCTION robotgroups.tell_robots() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM pg_notify('rg_' || CASE TG_OP WHEN 'DELETE' THEN OLD.group_id ELSE NEW.group_id END || '_robots', '');
    RETURN NULL;
END $$;
CREATE TRIGGER presence_changed AFTER INSERT OR DELETE OR UPDATE OF incarnation, backend_pid, doorbell ON robotgroups.presence
    FOR EACH ROW EXECUTE FUNCTION robotgroups.tell_robots();

-- Called on the presence session itself; false when that is the robot's no more.
CREATE FUNCTION robotgroups.hang_doorbell(p_group bigint, p_robot text, p_incarnation uuid, p_doorbell text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    IF length(p_doorbell) > 300 THEN
        RAISE EXCEPTION 'a doorbell is host:port of at most 300 characters' USING ERRCODE = 'RG012';
    END IF;
    UPDATE presence p SET doorbell = p_doorbell
        WHERE p.group_id = p_group AND p.robot = p_robot AND p.incarnation = p_incarnation AND p.backend_pid = pg_backend_pid();
    RETURN FOUND;
END $$;

-- A beat that also tells of the others: each that is not failed, and is present or has vanished without taking leave (a crash of
-- Postgres empties presence: its counter is -1 then). Whose counter stands still for a lease, on the asking robot's own clock, is
-- to be declared failed.
CREATE FUNCTION robotgroups.heartbeat(
    p_group bigint, p_robot text, p_incarnation uuid, p_applied bigint, p_warm boolean,
    OUT current boolean, OUT revision bigint, OUT epoch bigint, OUT heartbeat bigint, OUT role text, OUT tenure bigint,
    OUT max_tokens integer, OUT heartbeat_ms integer, OUT lease_ms integer, OUT peers jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    SELECT b.current, b.revision, b.epoch, b.heartbeat, b.role, b.tenure, b.max_tokens, b.heartbeat_ms, b.lease_ms
        INTO current, revision, epoch, heartbeat, role, tenure, max_tokens, heartbeat_ms, lease_ms
        FROM beat(p_group, p_robot, p_incarnation, p_applied, p_warm) b;
    SELECT coalesce(jsonb_agg(jsonb_build_object('name', r.name, 'incarnation', coalesce(p.incarnation, r.incarnation),
            'heartbeat', coalesce(p.heartbeat, -1), 'doorbell', coalesce(p.doorbell, '')) ORDER BY r.name), '[]') INTO peers
        FROM robots r LEFT JOIN presence p ON p.group_id = r.group_id AND p.robot = r.name
        WHERE r.group_id = p_group AND r.name <> p_robot AND r.role <> 'failed'
            AND (p.robot IS NOT NULL OR r.incarnation IS NOT NULL AND r.withdrawn_at IS NULL);
END $$;

DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'robotgroups' AND p.proname IN ('hang_doorbell', 'heartbeat')
    LOOP EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO robotgroups_robot', f); END LOOP;
END $$;
REVOKE ALL ON FUNCTION robotgroups.tell_robots(), robotgroups.hang_doorbell(bigint, text, uuid, text),
    robotgroups.heartbeat(bigint, text, uuid, bigint, boolean) FROM PUBLIC;
