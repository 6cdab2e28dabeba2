"""From logits and labels to a calibrated head: data, fits, metrics, reports. Never imported while serving."""
