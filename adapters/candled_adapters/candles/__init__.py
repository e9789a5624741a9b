"""Candle files: reading them, checked row by row, and writing them."""
