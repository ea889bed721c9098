"""One SQL file per migration: `NNNN_name.sql`. A file that was released is never changed."""
