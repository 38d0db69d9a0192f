"""Why a model answers as it does: shares of its modalities, weights of atoms, a map of its space.

shares.py  Shapley values of graph, text and fingerprint
atoms.py   integrated gradients, atom by atom
space.py   t-SNE of the molecules' vectors, and how well it keeps neighbourhoods
"""
