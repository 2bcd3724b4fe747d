-- Planned switchover on request. Who is replaced stays present and warm: it passes on what reaches it, so that no request fails.

-- Replaces p_source, else the first active robot in declared order, by p_target, else the best candidate. In any failover_mode: a person asked for it. Who is
-- moved by it has no place to get back.
CREATE FUNCTION robotgroups.switchover(p_group bigint, p_source text, p_target text, p_asked_by text,
    OUT promoted text, OUT replaced text, OUT epoch bigint, OUT revision bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
DECLARE g groups; v_role text;
BEGIN
    PERFORM assert_may_use(p_group);
    g := notice_server(lock_group(p_group));
    IF g.suspended THEN
        RAISE EXCEPTION 'group % is suspended: resume it first', g.name USING ERRCODE = 'RG012';
    END IF;
    SELECT r.role INTO v_role FROM robots r WHERE r.group_id = p_group AND r.name = p_target;
    IF v_role = 'active' THEN
        RAISE EXCEPTION '% is active already: there is nothing to switch over', p_target USING ERRCODE = 'RG012';
    END IF;
    SELECT r.name INTO replaced FROM robots r WHERE r.group_id = p_group AND r.role = 'active' AND (p_source IS NULL OR r.name = p_source)
        ORDER BY r.ordinal, r.name LIMIT 1;
    IF NOT FOUND THEN
        IF p_source IS NULL THEN RAISE EXCEPTION 'the group has no active robot' USING ERRCODE = 'RG010'; END IF;
        RAISE EXCEPTION '% is not an active member', p_source USING ERRCODE = 'RG012';
    END IF;
    IF p_target IS NULL THEN
        promoted := choose_candidate(p_group, replaced, true);
        IF promoted IS NULL THEN
            RAISE EXCEPTION 'no warm passive robot can take over from %', replaced USING ERRCODE = 'RG004';
        END IF;
    ELSE
        IF v_role IS DISTINCT FROM 'passive' THEN
            RAISE EXCEPTION '% is not a passive member', p_target USING ERRCODE = 'RG012';
        END IF;
        IF NOT EXISTS (SELECT FROM presence p WHERE p.group_id = p_group AND p.robot = p_target AND p.warm AND is_responsive(p, g.lease_ms)) THEN
            RAISE EXCEPTION '% is not warm: it has not caught up with the group, or is not running', p_target USING ERRCODE = 'RG013';
        END IF;
        promoted := p_target;
    END IF;
    SELECT a.epoch, a.revision INTO epoch, revision FROM apply_roles(p_group, jsonb_build_object(replaced, 'passive', promoted, 'active'),
        'requested', 'switchover', replaced, promoted, p_asked_by) a;
    UPDATE robots r SET displaced_at = NULL WHERE r.group_id = p_group AND r.name = replaced;
END $$;

REVOKE ALL ON FUNCTION robotgroups.switchover(bigint, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION robotgroups.switchover(bigint, text, text, text) TO robotgroups_robot;
