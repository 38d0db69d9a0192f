"""The report of a demo: every stage, from the first SMILES to the score of a fine-tuned model."""
