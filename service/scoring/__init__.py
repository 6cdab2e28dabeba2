"""Whole files through a head."""
