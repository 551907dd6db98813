"""`openledger demo`: the whole path of a record, an answer and a coin, on real data with a real model."""
