"""Published results, run again by their own protocols."""
