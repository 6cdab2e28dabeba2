"""A Ray cluster of two nodes with a CPU each, for the Python of `make ray`: prints its address, ends with stdin."""

import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20, "include_dashboard": False}

cluster = Cluster(initialize_head=True, head_node_args=NODE)
cluster.add_node(**NODE)
sys.stdout.write(f"{cluster.address}\n")
sys.stdout.flush()
sys.stdin.read()
cluster.shutdown()
