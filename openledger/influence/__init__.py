"""Training-data attribution that a stranger can recompute: contribution vectors, answer gradients, exact scores."""

import os

# The OpenMP runtime reads this when torch is loaded, so it must stand before any module of this package imports torch.
# Threads that wait by spinning make every process slower, several times over, as soon as two share a machine's cores;
# threads that sleep cost nothing measurable when alone.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
