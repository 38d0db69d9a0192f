"""Evaluation: many sets, models and seeds on the same splits become one table with intervals and baselines.

config.py     what is compared
grid.py       sets x models x seeds: each cell a folder, made once
baselines.py  what anybody has: ECFP with a random forest, chemprop where it is installed
bootstrap.py  how sure a difference is
leakage.py    what of the test part the encoder was pretrained on
table.py      finished cells -> table.json, table.csv
"""
