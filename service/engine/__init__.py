"""Rows in, arrays out: checked rows, the batcher, and the head that runs them."""
