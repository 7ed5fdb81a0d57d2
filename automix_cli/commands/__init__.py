"""One file per command: read options, build objects, call the engine, show the result."""
