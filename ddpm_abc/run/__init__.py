"""A training run, and what is drawn with it. Nothing is imported here: the settings need no torch."""
