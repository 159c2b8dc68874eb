"""Numbers for people: what became of conversations in a stretch of time, and the reports that tell of it by e-mail."""
