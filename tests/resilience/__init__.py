"""It does not fall over: hostile clients, hostile files, faults and overload, against the service as it runs."""
