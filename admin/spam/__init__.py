"""Spam rules: conditions over what happens, what is done when one matches, and why it was done."""
