"""What happens to the service when its processes, or those around it, die or misbehave."""
