"""The daemon's window on loopback: health, metrics and the live page. It only shows."""
