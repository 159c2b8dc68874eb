"""How Parley is put into operation: locally, in containers, in a cluster."""
