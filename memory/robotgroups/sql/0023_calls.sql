-- Functions that are called for each memory. In SQL they were not inlined, and a function of SQL that is not is made ready anew by each statement: in PL/pgSQL they
-- take a quarter of the time. What they return is the same.

CREATE OR REPLACE FUNCTION robotgroups.memory_hash(p_content text, p_scope text[]) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_scope = '{}' THEN RETURN sha256(convert_to(p_content, 'UTF8')); END IF;
    RETURN sha256(sha256(convert_to(p_content, 'UTF8')) || sha256(convert_to(p_scope::text, 'UTF8')));
END $$;

CREATE OR REPLACE FUNCTION robotgroups.words_of(p_space bigint, p_words tsvector) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE t text := p_words;
BEGIN
    -- mostly: words that fit and have no quote before which one could be mistaken for a word's first
    IF octet_length(t) < 2000 AND strpos(t, ' ''''') = 0 THEN
        RETURN substr(replace(' ' || t, ' ''', ' ''' || to_hex(p_space) || '/'), 2)::tsvector;
    END IF;
    RETURN (
        SELECT coalesce(string_agg(format('''%s/%s''%s', to_hex(p_space), replace(replace(w.lexeme, '\', '\\'), '''', ''''''),
            ':' || array_to_string(w.positions, ',')), ' '), '')::tsvector
        FROM (SELECT u.lexeme, u.positions, sum(octet_length(u.lexeme) + 2 * cardinality(u.positions) + 24) OVER (ORDER BY u.positions[1], u.lexeme) AS bytes
            FROM unnest(p_words) u WHERE octet_length(u.lexeme) <= 2000) w
        WHERE w.bytes <= 1000000);
END $$;

-- A session that sets robotgroups.quiet to a group's id announces nothing of that group: its robot tells the others by its links, and announces a moment later, once for
-- many. Revision 0: something has changed that has no revision, such as settings.
CREATE OR REPLACE FUNCTION robotgroups.announce(p_group bigint, p_revision bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('robotgroups.quiet', true) IS DISTINCT FROM p_group::text THEN
        PERFORM pg_notify('rg_' || p_group, p_revision::text);
    END IF;
END $$;
