"""One file a story; the registry of all of them."""
