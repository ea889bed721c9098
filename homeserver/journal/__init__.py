"""The journal: one sequence of positions over all that clients, peers and indexers must hear of."""
