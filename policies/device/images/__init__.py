"""The inner step of an image network on a device."""
