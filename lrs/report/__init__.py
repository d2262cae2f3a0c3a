"""Tables, from saved results alone."""
