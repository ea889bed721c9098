"""/sync over one view of the rooms: who is woken, what changed, and how it is told."""
