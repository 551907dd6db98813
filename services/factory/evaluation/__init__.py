"""What a tuned model can do, what it forgot and what it gives away: measured before anybody publishes it.

`evaluate.evaluate` measures everything and gives a `report.EvaluationReport`; `curves` draws the training, and `card`
writes the model card.  Pure functions of a base model, an adapter and examples: no gRPC, no database, no snapshots.
"""
