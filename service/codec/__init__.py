"""Bytes to rows, answers to bytes, strictly. Knows no HTTP."""
