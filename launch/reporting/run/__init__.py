"""The report of one pretraining run, finished or not."""
