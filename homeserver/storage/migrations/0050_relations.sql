-- The threads of a room by their newest replies.
CREATE INDEX event_relations_threads ON event_relations (room_nid, event_nid DESC) WHERE rel_type = 'm.thread';
