"""Other programs' ways in, an OpenAI-compatible server above all; shards of a batch, their merge, and Ray."""
