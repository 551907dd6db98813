"""OpenLoRA: many adapters on one base model, every answer paid for and traced."""
