"""A venue on loopback that speaks real dialects from a candle file or a seeded generator."""
