"""Models on disk: bundles, and the notebook's three files read as data."""
