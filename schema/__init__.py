"""PostgreSQL as every room uses it: how its tables change while requests go on, and locks of its sessions."""
