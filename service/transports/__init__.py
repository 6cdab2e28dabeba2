"""A request from bytes to bytes over HTTP: the fast transport, the ASGI one, and what they share. No FastAPI."""
