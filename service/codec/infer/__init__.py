"""The bodies of the Open Inference Protocol's infer."""
