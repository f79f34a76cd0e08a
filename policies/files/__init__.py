"""What a controller's file holds, and the checks that it has to pass."""
