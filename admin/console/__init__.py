"""The web console: pages below /admin, each a module with its template."""
