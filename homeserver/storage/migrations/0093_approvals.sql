-- Acts that a second operator must agree to: asked for, approved, used once.
CREATE TABLE approvals (
    approval_id text PRIMARY KEY,
    act text NOT NULL,
    target text NOT NULL,
    permission text NOT NULL,             -- that both of them must hold
    asked_by text NOT NULL,
    asked_ts bigint NOT NULL,
    approved_by text,
    approved_ts bigint
);
CREATE UNIQUE INDEX approvals_once ON approvals (asked_by, act, target);
