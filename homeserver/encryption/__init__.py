"""End-to-end encryption: keys, signatures, messages to devices, backups. The server passes on and reads nothing."""
