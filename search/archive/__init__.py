"""The cold archive: months of messages as Parquet in the object store, with an index of their words beside."""
