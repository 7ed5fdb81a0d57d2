"""automix as a library: the face that Python programs use, and the event loop behind it."""
