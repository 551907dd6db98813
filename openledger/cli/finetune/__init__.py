"""`openledger finetune`: fine-tunes from the command line, for people and for scripts."""

from openledger.cli.finetune import commands, results
from openledger.cli.finetune.asking import app

__all__ = ["app", "commands", "results"]
