"""The object store: named blobs, written once. A local folder here; the interface is what S3 can do as well."""
