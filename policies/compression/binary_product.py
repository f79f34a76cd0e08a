"""Products with weights of binary bases from packed words: signs are added, and coordinates multiply the sums.

Of a row group w = sum_i alpha_i beta_i and an input x, w x = sum_i alpha_i (beta_i . x), and beta . x is the sum of the
numbers of x at +1 less that at -1, which is twice the former less the sum of x. Where x holds -1 and +1 alone, beta . x
is n - 2 popcount(beta xor x), over words of 32 signs. Of columns, sum_j beta_j (alpha_j x_j) is added up alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.policies.compression.bases import ALPHAS, bases_of, coded_names
from metarl.policies.networks.network import LayerTrace, Operation, Parameters, RunLayer, layer_of, run_layer

Floats = NDArray[np.float32]
Words = NDArray[np.uint32]
WORD = 32


@dataclass(frozen=True)
class PackedBases:
    """The bases of a matrix [output, input], those that are there alone, group by group.

    ``words`` [coordinate, word] hold the signs of one basis each, bit 0 the first, 1 for +1; the bits behind the last
    sign are 0. ``groups`` [coordinate] is the output, or the input, that each belongs to.
    """

    words: Words
    alphas: Floats
    groups: NDArray[np.intp]
    by_output: bool
    outputs: int
    inputs: int

    @property
    def size(self) -> int:
        """The signs of a basis."""
        return self.inputs if self.by_output else self.outputs

    def product(self, inputs: Floats) -> Floats:
        """Return x W^T [sample, output] of float inputs x [sample, input], by additions of signed numbers."""
        sums = np.zeros((len(inputs), self.outputs), np.float32)
        if self.by_output:
            for word, alpha, output in zip(self.words, self.alphas, self.groups, strict=True):
                sums[:, output] += alpha * signed_sums(inputs, word)
            return sums
        for word, alpha, channel in zip(self.words, self.alphas, self.groups, strict=True):
            scaled = alpha * inputs[:, channel : channel + 1]
            positive = bits_of(word, self.outputs)
            np.add(sums, scaled, out=sums, where=positive)
            np.subtract(sums, scaled, out=sums, where=~positive)
        return sums

    def binary_product(self, words: Words) -> Floats:
        """Return x W^T [sample, output] of inputs that are -1 and +1 alone, as words [sample, word] of their signs.

        Every sum of signs is a whole number from exclusive-or and the count of bits; a group must be an output.
        """
        if not self.by_output:
            raise Refusal("a product of signs alone needs a basis for each output, and these are for inputs")
        sums = np.zeros((len(words), self.outputs), np.float32)
        for word, alpha, output in zip(self.words, self.alphas, self.groups, strict=True):
            differing = np.bitwise_count(words ^ word).sum(axis=1, dtype=np.int32)
            sums[:, output] += alpha * (self.size - 2 * differing).astype(np.float32)
        return sums


def packed_matrix(parameters: Parameters, name: str) -> PackedBases:
    """Return the bases of a weight matrix in words."""
    outputs, inputs = parameters[name].shape
    groups = tuple(parameters[name + ALPHAS].shape[1:])
    by_output = groups == (outputs, 1)
    if not by_output and groups != (1, inputs):
        raise Refusal(f"the groups of '{name}' are neither its rows nor its columns")
    bases = bases_of(parameters, name)
    present = bases.present.numpy()
    signs = bases.codes.mT.numpy()[present] > 0
    return PackedBases(
        packed_words(signs),
        bases.alphas.detach().numpy()[present],
        np.nonzero(present)[0],
        by_output,
        outputs,
        inputs,
    )


def packed_run(parameters: Parameters) -> RunLayer:
    """Return how a policy runs its layers from packed words; ``network(parameters, x, packed_run(parameters))``."""
    matrices = {layer_of(name): packed_matrix(parameters, name) for name in coded_names(parameters)}

    def run(layer: str, operation: Operation, inputs: Tensor) -> LayerTrace:
        if layer not in matrices:
            return run_layer(layer, operation, inputs)
        product = torch.from_numpy(matrices[layer].product(inputs.detach().numpy()))
        return LayerTrace(inputs, product + parameters[f"{layer}.bias"])

    return run


def packed_words(signs: NDArray[np.bool_]) -> Words:
    """Return flags [row, sign] in words of 32 [row, word], the first in bit 0, zeros behind the last."""
    padded = np.zeros((len(signs), -(-signs.shape[1] // WORD) * WORD), bool)
    padded[:, : signs.shape[1]] = signs
    return np.packbits(padded, axis=1, bitorder="little").view("<u4").astype(np.uint32)


def bits_of(words: Words, count: int) -> NDArray[np.bool_]:
    """Return the first ``count`` bits of words [word]."""
    return np.unpackbits(words.astype("<u4").view(np.uint8), count=count, bitorder="little").astype(bool)


def signed_sums(inputs: Floats, words: Words) -> Floats:
    """Return beta . x [sample] of inputs x [sample, input] and the signs beta of one basis."""
    positive = bits_of(words, inputs.shape[1])
    sums: Floats = inputs[:, positive].sum(axis=1) - inputs[:, ~positive].sum(axis=1)
    return sums
