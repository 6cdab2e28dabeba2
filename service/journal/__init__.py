"""Predictions kept until their labels come: the journal of the server, and the process that owns the store."""
