"""The `openledger` command."""
