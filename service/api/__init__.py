"""The faces of the service. Handlers and answers know no transport; `asgi.py` and the FastAPI rooms do."""
