"""`python -m homeserver` is `hansa`."""

from homeserver.cli import main

main()
