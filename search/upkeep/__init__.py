"""Looking after the index: building it anew beside itself, comparing it with the database, explaining queries."""
