"""The pure core: what training, replay and the live daemon share. No I/O, no clock, no globals."""
