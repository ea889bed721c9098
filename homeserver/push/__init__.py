"""Push rules, unread counts and pushers."""
