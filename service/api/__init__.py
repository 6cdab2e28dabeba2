"""FastAPI's pages: health, models, metrics, the Open Inference Protocol beside infer, OpenAPI."""
