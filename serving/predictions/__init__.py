"""How a scoring server logs what it answered, off the request's path."""
