"""What watches a run and writes about it; never steers it."""
