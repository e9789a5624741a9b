"""Exchange dialects: one file of pure functions for each venue."""
