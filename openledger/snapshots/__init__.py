"""What is published of a datanet's snapshots, and what is proven about them: documents, files, proofs."""
