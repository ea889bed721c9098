-- What a moderator's role is bound to; NULL: to nothing. Rooms may be spaces, whose rooms count.
ALTER TABLE operator_roles ADD COLUMN rooms text[];
ALTER TABLE operator_roles ADD COLUMN actions text[];
-- A token can be given fewer rooms than its operator has.
ALTER TABLE operator_tokens ADD COLUMN rooms text[];
CREATE INDEX spam_decisions_by_room ON spam_decisions (room_id, decision_id);

-- Accounts whose role was changed beside the running server, which is to forget what it remembers of them.
CREATE TABLE roles_changed_beside (user_id text PRIMARY KEY);
