"""Files taken apart into what could be records: pure, with no network, no clock, and no folder to look into.

Runs in contained workers (`task.py`), since what it reads is anybody's.  Knows a datanet's field ids and nothing else
of it; keeps nothing.
"""
