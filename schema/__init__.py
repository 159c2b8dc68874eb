"""How the database's tables change while requests go on."""
