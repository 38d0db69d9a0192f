"""Shards become an encoder: two contrastive streams, graph (local, global) and text (SMILES, description)."""
