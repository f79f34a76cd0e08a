"""Tensors keep their types and bytes in a file, under a checksum that is worked out a second time here."""

import hashlib
import json
import zlib

import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

from metarl.policies.files.tensor_file import FileKind, read_tensors, write_tensors

KIND = FileKind(noun="sample", format="metarl-sample", version=3, oldest=2)
TENSORS = {
    "weights": torch.tensor([[1.0, -2.5]]),
    "halves": torch.tensor([0.5, 65504.0], dtype=torch.float16),
    "codes": torch.tensor([[-128], [127]], dtype=torch.int8),
    "bits": torch.tensor([0b10000001, 255], dtype=torch.uint8),
    "indices": torch.tensor(2**31 - 1, dtype=torch.int32),
    "none": torch.zeros(0, 3),
}
# Name, type, shape and the little-endian bytes of each tensor, by hand, in the order of the names.
BYTES = [
    (["bits", "U8", [2]], "81ff"),
    (["codes", "I8", [2, 1]], "807f"),
    (["halves", "F16", [2]], "0038ff7b"),
    (["indices", "I32", []], "ffffff7f"),
    (["none", "F32", [0, 3]], ""),
    (["weights", "F32", [1, 2]], "0000803f000020c0"),
]


def test_each_type_comes_back(tmp_path):
    write_tensors(tmp_path / "file", KIND, '{"a": 1}', TENSORS)
    content, tensors = read_tensors(tmp_path / "file", KIND)
    assert content == '{"a": 1}' and tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)
        assert torch.equal(load_file(tmp_path / "file")[name], tensor)


def test_the_header_by_hand(tmp_path):
    write_tensors(tmp_path / "file", KIND, "{}", TENSORS)
    with safetensors.safe_open(tmp_path / "file", framework="pt") as file:
        header = json.loads(file.metadata()["metarl"])
    digest = hashlib.sha256(b"{}")
    for described, content in BYTES:
        digest.update(json.dumps(described).encode() + bytes.fromhex(content))
    assert header == {"format": "metarl-sample", "version": "3", "content": "{}", "checksum": digest.hexdigest()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.bool, torch.int64, torch.complex64])
def test_other_types_are_not_written(tmp_path, dtype):
    with pytest.raises(ValueError, match="'wide' must have the type F32 or F16 or I8 or U8 or I32, got torch"):
        write_tensors(tmp_path / "file", KIND, "{}", {"wide": torch.zeros(2, dtype=dtype)})
    assert list(tmp_path.iterdir()) == []


def test_the_same_bytes_of_another_type_are_noticed(tmp_path):
    write_tensors(tmp_path / "file", KIND, "{}", {"codes": torch.tensor([1, 2], dtype=torch.int8)})
    content = (tmp_path / "file").read_bytes()
    assert content.count(b'"I8"') == 1
    (tmp_path / "file").write_bytes(content.replace(b'"I8"', b'"U8"'))
    with pytest.raises(ValueError, match="the sample was altered or damaged: its checksum does not match"):
        read_tensors(tmp_path / "file", KIND)


def test_versions_too_old_and_too_new(tmp_path):
    for version, sentence in ((1, "reads from 2 on"), (4, "reads up to 3: upgrade it")):
        write_tensors(tmp_path / "file", FileKind("sample", "metarl-sample", version), "{}", {"a": torch.zeros(1)})
        with pytest.raises(ValueError, match=f"the sample has format version {version}, this metarl {sentence}"):
            read_tensors(tmp_path / "file", KIND)


def test_a_file_of_another_format_is_named(tmp_path):
    write_tensors(tmp_path / "file", FileKind("checkpoint", "metarl-checkpoint", 1), "{}", {"a": torch.zeros(1)})
    with pytest.raises(ValueError, match="^this is a checkpoint of metarl, and a sample is needed here$"):
        read_tensors(tmp_path / "file", KIND)


DEFLATING = FileKind("sample", "metarl-sample", 2, newest=3)


def test_a_deflated_file_comes_back_and_is_read_by_hand(tmp_path):
    write_tensors(tmp_path / "file", DEFLATING, '{"a": 1}', TENSORS, deflate=True)
    content, tensors = read_tensors(tmp_path / "file", DEFLATING)
    assert content == '{"a": 1}' and tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)
    (deflated,) = load_file(tmp_path / "file").values()
    text, _, saved = zlib.decompress(deflated.numpy().tobytes()).partition(b"\n")
    assert text == b'{"a": 1}' and safetensors.torch.load(saved).keys() == TENSORS.keys()


@pytest.mark.parametrize(
    ("plain", "sentence"),
    [
        (zlib.compress(bytes(2**28 + 1)), "is truncated, or far larger"),
        (zlib.compress(b"{}\n" + safetensors.torch.save({"a": torch.zeros(3)}))[:-6], "is truncated"),
        (zlib.compress(b"{}\n" + safetensors.torch.save({"a": torch.zeros(3)})) + b"more", "is truncated"),
        (zlib.compress(b"{}\n" + safetensors.torch.save({"a": torch.zeros(3).double()})), "must have the type"),
        (zlib.compress(b"{}\n" + safetensors.torch.save({"a": torch.zeros(3)})), "checksum does not match"),
        (zlib.compress(b"{}"), "is damaged"),
        (zlib.compress("{ä}\n".encode() + safetensors.torch.save({"a": torch.zeros(3)})), "is damaged"),
        (b"no stream", "is damaged"),
    ],
)
def test_a_wrong_stream_is_refused(tmp_path, plain, sentence):
    header = {"format": "metarl-sample", "version": "3", "checksum": "0"}
    tensors = {"deflated": torch.frombuffer(bytearray(plain), dtype=torch.uint8)}
    save_file(tensors, tmp_path / "file", {"metarl": json.dumps(header)})
    with pytest.raises(ValueError, match=f"the sample .*{sentence}|{sentence}"):
        read_tensors(tmp_path / "file", DEFLATING)
