"""Who is told of requests and batches: counts, traces, logs."""
