"""candled: the candle daemon. Live closed bars in, the trained model's signals out."""
