"""A head, from a calibrator's numbers to an ONNX file; never imported while serving.

`stages` holds the numbers and computes with them, in numpy alone; the other files need onnx. `graph` holds a graph
under construction; `build` builds the head, with the calibrators' `nodes`, the
`masking` that all families share, a file for each such as `softmax`, and rows of an even `width`; `attach` puts
it behind a classifier, with `fold` and `surgery`; `reading` finds the numbers in a graph again, `reference` checks it,
`publish` writes it. Nothing is imported here, so that `calibrant export --help` works where onnx is not installed.
"""
