"""Commands for people who build OpenLedger; not part of the distribution."""
