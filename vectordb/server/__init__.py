"""The HTTP server: routes translate between JSON and the engine, and decide nothing."""
