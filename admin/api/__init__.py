"""The admin API in JSON, one module per topic: the paths and shapes that operators' tools know."""
