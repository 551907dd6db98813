"""Training-data attribution that a stranger can recompute: contribution vectors, answer gradients, exact scores."""
