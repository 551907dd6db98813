"""The accuracy study: how well attribution scores predict what retraining without a contributor's data does."""
