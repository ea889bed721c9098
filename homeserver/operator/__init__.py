"""What an operator asks of the server from outside: is it well, what does it do at its first start."""
