"""The ONNX graphs, as builders: the only room that imports onnx, and never imported while serving.

`stages` says what stands between the logits and the softmax, `graph` holds a graph under construction,
`softmax` builds the head with the `lanes` that make it the same in any batch, `attach` puts it behind a
classifier, `reference` checks it, `files` writes it, `export` is the command. Nothing is imported here, so
that `calibrant export --help` works where onnx is not installed.
"""
