"""Every number that the README claims, re-runnable."""
