"""What a network costs on a device: memory and operations."""
