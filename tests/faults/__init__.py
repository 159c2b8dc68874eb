"""What can go wrong between processes, made to happen: a bad network (proxy) and a bad broker (brokers)."""
