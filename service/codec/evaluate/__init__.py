"""`POST .../evaluate`: rows with their labels, or an upstream gradient, to losses, gradients and metrics."""
