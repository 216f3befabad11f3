"""The built-in simulator: software rendering, ray casting, free space."""
