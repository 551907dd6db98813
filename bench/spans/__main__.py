"""One arm of the bench, in a process of its own."""

from bench.spans import one_arm

one_arm()
