"""What a stranger installs: to use OpenLedger, and to check it.  You don't have to trust us for anything in here."""

__version__ = "0.2.0"
