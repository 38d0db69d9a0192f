"""The encoders: AttentiveFP (local), Graph Transformer (global), DeBERTa (SMILES, text), projection heads."""
