"""Other programs' ways in: an OpenAI-compatible server, and what its requests and replies look like."""
