-- Which two characters follow each other in a name: operators find a million accounts and rooms by a part of it.
-- Pairs, since of a Chinese name two are often all that there is.
CREATE FUNCTION character_pairs(words text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY(SELECT substr(folded, place, 2) FROM generate_series(1, length(folded) - 1) AS place)
    FROM (SELECT lower(left(words, 2000)) AS folded OFFSET 0) AS begun
$$;
-- What a profile keeps is JSON in UTF-8; PostgreSQL calls decoding it stable alone for the sake of other encodings.
-- While indexes are made no other function of ours is found: so both say it.
CREATE FUNCTION character_pairs_of_json(value bytea) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY(SELECT substr(folded, place, 2) FROM generate_series(1, length(folded) - 1) AS place)
    FROM (SELECT lower(left(convert_from(value, 'UTF8'), 2000)) AS folded OFFSET 0) AS begun
$$;

CREATE INDEX users_by_pairs ON users USING gin (character_pairs(user_id));
CREATE INDEX profiles_by_pairs ON profiles USING gin (character_pairs_of_json(value)) WHERE field = 'displayname';
CREATE INDEX room_overviews_by_pairs ON room_overviews
    USING gin (character_pairs(coalesce(name, '') || ' ' || coalesce(canonical_alias, '')));

-- Who and what has all pairs of a term. By the index, always: to work out the pairs of each row takes a hundred times
-- as long, and PostgreSQL would do that where it thinks that most rows have them.
CREATE FUNCTION users_with_pairs(term text) RETURNS SETOF text LANGUAGE sql STABLE
SET enable_seqscan = off SET work_mem = '64MB' AS $$
    SELECT user_id FROM users WHERE character_pairs(user_id) @> character_pairs(term)
$$;
CREATE FUNCTION profiles_with_pairs(term text) RETURNS SETOF text LANGUAGE sql STABLE
SET enable_seqscan = off SET work_mem = '64MB' AS $$
    SELECT user_id FROM profiles
    WHERE field = 'displayname' AND character_pairs_of_json(value) @> character_pairs(term)
$$;
CREATE FUNCTION rooms_with_pairs(term text) RETURNS SETOF bigint LANGUAGE sql STABLE
SET enable_seqscan = off SET work_mem = '64MB' AS $$
    SELECT room_nid FROM room_overviews
    WHERE character_pairs(coalesce(name, '') || ' ' || coalesce(canonical_alias, '')) @> character_pairs(term)
$$;
