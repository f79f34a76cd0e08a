"""Meta-training of classifiers on few-shot images."""
