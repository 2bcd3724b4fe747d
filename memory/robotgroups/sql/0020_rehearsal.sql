-- A failover is rehearsed: a session that has never called the functions takes 15 ms and more to read and plan them all, on an idle
-- machine, in the one moment in which it counts.

-- Declares a robot failed that never was, and takes everything back. Nobody hears of it: what is announced goes with the rest.
CREATE FUNCTION robotgroups.rehearse_failover(p_group bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE v_incarnation uuid := gen_random_uuid();
BEGIN
    PERFORM assert_may_use(p_group);
    BEGIN
        PERFORM lock_group(p_group);
        INSERT INTO robots (group_id, name, ordinal, declared_role, role, tenure, incarnation)
            VALUES (p_group, '.rehearsal', 0, 'active', 'active', 1, v_incarnation);
        INSERT INTO presence (group_id, robot, incarnation, backend_pid, server_started, heartbeat, heartbeat_at, registered_at)
            VALUES (p_group, '.rehearsal', v_incarnation, 0, server_started(), 1, clock_timestamp(), clock_timestamp());
        PERFORM declare_failed(p_group, '.rehearsal', v_incarnation, NULL, 'rehearsal', 'rehearsal');
        RAISE EXCEPTION 'this was the rehearsal' USING ERRCODE = 'RG016';
    EXCEPTION WHEN SQLSTATE 'RG016' THEN NULL;
    END;
END $$;
REVOKE ALL ON FUNCTION robotgroups.rehearse_failover(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION robotgroups.rehearse_failover(bigint) TO robotgroups_robot;
