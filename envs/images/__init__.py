"""Few-shot images: folders of images by class, decoded once, and the episodes drawn from them."""
