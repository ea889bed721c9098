"""What developers type besides `make`."""
