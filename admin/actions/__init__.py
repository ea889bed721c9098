"""Every change that an operator can make: each checks, does, and leaves its audit row in one transaction."""
