-- Accounts whose sessions the operator wants ended: whichever server process runs, now or next, does it.
CREATE TABLE sessions_to_end (user_id text PRIMARY KEY);
