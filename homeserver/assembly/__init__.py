"""Plugs the objects of each area together. `homeserver.app` calls these, in order; one module an area."""
