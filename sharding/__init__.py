"""Molecules become shards of data: SMILES in, verified WebDataset tars and their manifest out.

Nothing here imports another room of the project, and nothing here needs torch.
"""
