"""Linux TCP as pure code: no clock, no input or output; `now` is always an argument."""
