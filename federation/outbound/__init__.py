"""What we send to other servers, as a consumer of the journal."""
