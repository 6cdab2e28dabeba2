"""The bodies of predict."""
