-- Robots tell each other what they have written: whom to ask, and with which key. Announcements are for everybody else then, and may be fewer.

ALTER TABLE robotgroups.presence ADD COLUMN link text NOT NULL DEFAULT '', ADD COLUMN link_key bytea, ADD COLUMN link_of uuid;
COMMENT ON COLUMN robotgroups.presence.link IS 'host:port at which its process tells the other robots of the group what it writes';
COMMENT ON COLUMN robotgroups.presence.link_of IS 'the incarnation that hung it';
COMMENT ON COLUMN robotgroups.presence.link_key IS 'what both ends of a link prove themselves with; its process'' own, as long as it lives';

-- False when the incarnation is not present.
CREATE FUNCTION robotgroups.hang_link(p_group bigint, p_robot text, p_incarnation uuid, p_link text, p_key bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    IF length(p_link) > 300 OR octet_length(p_key) NOT BETWEEN 16 AND 64 THEN
        RAISE EXCEPTION 'a link is host:port of at most 300 characters, its key has 16 to 64 bytes' USING ERRCODE = 'RG012';
    END IF;
    UPDATE presence p SET link = p_link, link_key = p_key, link_of = p_incarnation
        WHERE p.group_id = p_group AND p.robot = p_robot AND p.incarnation = p_incarnation;
    RETURN FOUND;
END $$;

-- Where one of a group's robots tells what it writes, for those who may use the group (S1).
CREATE FUNCTION robotgroups.link_of(p_group bigint, p_robot text) RETURNS TABLE (link text, link_key bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = robotgroups, pg_temp AS $$
BEGIN
    PERFORM assert_may_use(p_group);
    RETURN QUERY SELECT p.link, p.link_key FROM presence p
        WHERE p.group_id = p_group AND p.robot = p_robot AND p.link <> '' AND p.link_of = p.incarnation;
END $$;

REVOKE ALL ON FUNCTION robotgroups.hang_link(bigint, text, uuid, text, bytea), robotgroups.link_of(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION robotgroups.hang_link(bigint, text, uuid, text, bytea), robotgroups.link_of(bigint, text) TO robotgroups_robot;
