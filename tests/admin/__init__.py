"""Administration, over HTTP."""
