"""What is published of a datanet's snapshots, and what is proven about them: documents, files, proofs."""

EXPORTED = "snapshot"
"""The folder of what is published, in the folder of an export."""
META = "_openledger"
"""The column, or key, of an exported text that says whose record it is: no field of a datanet is named so."""
