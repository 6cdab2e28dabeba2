"""What lives around the event loop: the server, sockets, workers, memory."""
