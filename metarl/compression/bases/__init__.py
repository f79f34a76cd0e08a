"""Binary bases of a controller's weights, found by the loss itself (ALQ, ch. 2 of Qu's thesis)."""
