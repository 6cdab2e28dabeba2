"""What the Open Inference Protocol asks beside `infer`."""
