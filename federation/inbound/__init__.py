"""What other servers ask of us."""
