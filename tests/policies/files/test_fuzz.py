"""Thousands of mutated controller files: none gives anything but ValueError or finite actions."""

from collections import Counter
from itertools import islice

from fuzz_controllers import MUTATIONS, fuzz


def test_mutated_files_are_refused_or_act_in_finite_numbers():
    counts = Counter(islice(fuzz(seed=0), 2000))
    for kind in MUTATIONS:
        assert counts[kind, "refused"] > 300, counts
    # Without the checksum nothing that counts can change; with it, what is allowed may.
    assert counts["bytes", "altered"] == counts["header", "altered"] == 0, counts
    assert counts["fields", "altered"] > 10 and counts["tensors", "altered"] > 10, counts
