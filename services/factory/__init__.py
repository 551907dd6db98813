"""The Factory: tunes LoRA adapters on snapshots and learns what each contributor did to the weights."""
