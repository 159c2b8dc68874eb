"""How the admin writes times: by the clock of twenty-four hours."""
