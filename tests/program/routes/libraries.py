"""Libraries of training programs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from tests.program.routes.base import holds, python


@python
def numpy_files(root: Path) -> None:
    np.save("array.npy", np.zeros(4))
    np.savez(root / "a.txt", x=np.ones(2))
    np.savetxt("b.txt", np.eye(2))
    np.ones(3).tofile("c.txt")
    with open("sub/x.txt", "wb") as file:
        np.ones(2).tofile(file)
    assert np.load(root / "array.npy").sum() == 0 and np.load("a.txt.npz")["x"].sum() == 2
    assert np.loadtxt(root / "b.txt").sum() == 2 and np.fromfile("c.txt").sum() == 3
    np.load("array.npy", mmap_mode="r+")[0] = 7
    assert np.load("array.npy")[0] == 7
    mapped = np.memmap("c.txt", dtype="f8", mode="r+")
    mapped[:] = 2
    mapped.flush()
    assert np.memmap(root / "c.txt", dtype="f8", mode="r").sum() == 6
    opened = np.lib.format.open_memmap("array.npy", mode="w+", shape=(2,))
    opened[:] = 5
    assert np.load("array.npy").sum() == 10


@python
def torch_files(root: Path) -> None:
    changed = {"w": torch.zeros(3)}
    torch.save(changed, "model.pt")
    torch.save(changed, root / "a.txt", _use_new_zipfile_serialization=False)
    with open("b.txt", "wb") as file:
        torch.save(changed, file)
    torch.save(changed, "sub/n\u00e9w.pt")
    for path in ("model.pt", root / "a.txt", "b.txt", "sub/n\u00e9w.pt"):
        assert torch.load(path)["w"].sum() == 0
    mapped = torch.load("model.pt", mmap=True)["w"]
    assert mapped.sum() == 0
    shared: Any = torch.UntypedStorage.from_file("c.txt", True, 12)
    shared.fill_(1)
    holds("c.txt", b"\x01" * 12)
    tensor = torch.from_file("sub/x.txt", shared=True, size=2, dtype=torch.uint8)
    tensor.fill_(2)
    assert Path("sub/x.txt").read_bytes()[:2] == b"\2\2"


@python
def torch_scripts(root: Path) -> None:
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
    module.save("model.pt")
    torch.jit.save(module, root / "a.txt")
    for path in ("model.pt", "a.txt"):
        assert torch.jit.load(path)(torch.ones(1, 2)).shape == (1, 2)


@python
def torch_profiles(root: Path) -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch.ones(2).sum()
    profile.export_chrome_trace("a.txt")
    assert "traceEvents" in Path("a.txt").read_text()


@python
def safetensors_files(root: Path) -> None:
    changed = {"w": torch.zeros(3)}
    safetensors.torch.save_file(changed, "model.safetensors")
    safetensors.torch.save_file(changed, root / "a.txt")
    for path in (root / "model.safetensors", "a.txt"):
        assert safetensors.torch.load_file(path)["w"].sum() == 0
    with safetensors.safe_open("a.txt", "pt") as file:
        assert list(file.keys()) == ["w"]


@python
def tokenizer_files(root: Path) -> None:
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.save("a.txt")
    tokenizer.save(str(root / "sub/x.txt"), pretty=False)
    assert tokenizers.Tokenizer.from_file("a.txt").get_vocab() == {"a": 0}
    assert json.loads(Path("sub/x.txt").read_text())["model"]["vocab"] == {"a": 0}
    os.mkdir("parts")
    assert tokenizer.model.save(str(root / "parts")) == [str(root / "parts/vocab.json")]
    assert os.listdir("parts") == ["vocab.json"]
