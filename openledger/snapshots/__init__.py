"""What is published of a datanet's snapshots, and what is proven about them: documents, files, proofs."""

EXPORTED = "snapshot"
"""The folder of what is published, in the folder of an export."""
