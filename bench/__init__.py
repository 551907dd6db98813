"""One script a figure; results as JSON beside it, with machine, seed and commit."""
