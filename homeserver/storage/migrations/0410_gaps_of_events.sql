-- What is missing before an event that isn't shown is missing before the one that follows it, too.
CREATE INDEX backward_extremities_by_event ON backward_extremities (event_nid);
