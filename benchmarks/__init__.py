"""What navloop's speed is, each figure beside a named alternative measured in the same run: `make bench`."""
