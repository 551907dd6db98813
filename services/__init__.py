"""The five services and their kit.  Services meet only over gRPC; none imports another."""
