"""An encoder and a table of labelled molecules become a model, its test score and its predictions."""
