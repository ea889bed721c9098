"""PostgreSQL: connections, migrations, and one module per table with its SQL in sight."""
