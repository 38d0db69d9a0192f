"""Reports: one HTML page with its pictures, of a pretraining run or of a whole demo."""
