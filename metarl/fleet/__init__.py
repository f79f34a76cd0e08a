"""Controllers that many robots have already: updates that send a few numbers."""
