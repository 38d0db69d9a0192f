"""Why a model answers as it does: shares of its modalities, its atoms, what its fusion reads, a map of its space.

shares.py     Shapley values of graph, text and fingerprint
atoms.py      integrated gradients, atom by atom
attention.py  what the fingerprint reads: atoms, symbols, words
space.py      t-SNE and UMAP of the molecules' vectors, and how well they keep neighbourhoods
subject.py    which molecules are explained; choice.py: which of them are drawn
job.py        all of it for launch/explain.py; files.py: the numbers as files
"""
