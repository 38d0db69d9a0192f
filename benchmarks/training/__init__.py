"""How fast pretraining is, and how much faster than the same model in stock parts: `python -m benchmarks.training`."""
