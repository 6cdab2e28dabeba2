"""The transport over gRPC: the Open Inference Protocol once more, answered from the same codec, batcher and telemetry.

Imported only where it is asked for, and the only room that knows grpc and protobuf.
"""
