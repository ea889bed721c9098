"""Users: accounts, log-in, tokens, devices, profiles, account data."""
