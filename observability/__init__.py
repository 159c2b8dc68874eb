"""What operators see of every room: log lines, request ids, metrics. Imports none of the rooms."""
