"""The Factory: tunes LoRA adapters on snapshots and learns what each contributor did to the weights."""

import openledger.influence  # noqa: F401  before anything here loads torch: it settles how torch's threads wait
