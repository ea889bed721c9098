-- Who runs the server beside those whose account has `is_admin`, who count as owners.
CREATE TABLE operator_roles (
    user_id text PRIMARY KEY,
    role text NOT NULL CHECK (role IN ('owner', 'admin', 'moderator', 'auditor')),
    given_by text NOT NULL,
    given_ts bigint NOT NULL
);

-- What operators did. Rows are numbered without gaps, and each holds the hash of the one before.
CREATE TABLE audit_log (
    entry_nid bigint PRIMARY KEY,
    ts bigint NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    reason text,
    before text,                          -- canonical JSON
    after text,                           -- canonical JSON
    address text,
    request_id text,
    previous bytea NOT NULL,              -- hash of the entry before; 32 zero bytes for the first
    hash bytea NOT NULL                   -- SHA-256 over the canonical JSON of all the above
);
CREATE INDEX audit_log_by_actor ON audit_log (actor, entry_nid);
CREATE INDEX audit_log_by_target ON audit_log (target, entry_nid);
CREATE INDEX audit_log_by_action ON audit_log (action, entry_nid);

-- The newest entry: locked while one is added, so that the chain has one end.
CREATE TABLE audit_head (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    entry_nid bigint NOT NULL,
    hash bytea NOT NULL
);
INSERT INTO audit_head (entry_nid, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only added to';
END
$$;
CREATE TRIGGER audit_log_rows_stay BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_log_stays BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
