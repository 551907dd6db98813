"""Datanet: collects, checks, owns and versions contributors' data of one domain."""
