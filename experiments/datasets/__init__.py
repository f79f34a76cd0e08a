"""Few-shot image data that can be had everywhere: drawings of the npm package @iconify/json, rendered."""
