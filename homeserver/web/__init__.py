"""The only HTTP in Hansa: endpoint descriptions, routing, auth, limits, error answers."""
