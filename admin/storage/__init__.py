"""The tables that administration keeps, and the queries that its pages read."""
