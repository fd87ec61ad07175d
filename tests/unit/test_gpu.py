"""On a GPU the same numbers as on the CPU, and a training run in every number format."""

import json

import pytest
import torch
from models import batch, model
from test_pretrain import SMALL, write_store

import speechrep
from speechrep.bin.pretrain import main
from speechrep.upstream.attention import Valid, attend, valid_frames

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("name", ["apc", "apc_transformer", "mockingjay"])
def test_hidden_vectors_and_gradients_are_those_of_the_cpu(name, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # else cuDNN's GRU rounds to 10 bits
    upstream = model(name)
    feats, lens = batch([23, 9, 17, 1, 4])
    here = upstream(feats, lens).hiddens
    sum(hidden.square().sum() for hidden in here).backward()
    grads = [p.grad.clone() for p in upstream.parameters() if p.grad is not None]
    upstream.zero_grad()
    upstream.cuda()
    there = upstream(feats.cuda(), lens.cuda()).hiddens
    sum(hidden.square().sum() for hidden in there).backward()
    other = [p.grad.cpu() for p in upstream.parameters() if p.grad is not None]
    torch.testing.assert_close([hidden.cpu() for hidden in there], here, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other, grads, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("M", [700, 100])
def test_flash_attention_past_padding_is_that_of_masks(M):
    torch.manual_seed(0)
    q = torch.randn(4, M, 2, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    k, v = (torch.randn(4, 700, 2, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in "kv")
    valid = valid_frames(torch.tensor([700, 3, 421, 0], device="cuda"), 700, head_size=64)
    assert valid.begins is not None
    both = [attend(q, k, v, way, 0.0, False) for way in (valid, Valid(valid.mask, None))]
    torch.testing.assert_close(*both, rtol=2e-2, atol=2e-2)
    out = torch.randn_like(both[0])
    grads = [torch.autograd.grad((x * out).sum(), [q, k, v]) for x in both]
    torch.testing.assert_close(*grads, rtol=5e-2, atol=5e-2)
    inside = valid.mask[:, 0, 0, :, None, None]
    assert not any((grad * ~inside).any() for grad in grads[0][1:])  # nobody looks at padding


@pytest.mark.parametrize("name", ["apc", "apc_transformer", "mockingjay"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_trains_and_resumes(tmp_path, name, precision):
    small = SMALL.get(name, ["--upstream", "apc_transformer", "--hidden-size", "16", "--num-heads", "2"])
    stores = [write_store(tmp_path / f"{seed}.h5", seed=seed) for seed in (0, 1)]
    command = [*small, "--train-dir", stores[0], "--valid-dir", stores[1], "--exp-dir", str(tmp_path / "exp")]
    command += ["--ngpu", "1", "--precision", precision, "--max-frames", "300", "--max-steps", "12"]
    main([*command, "--save-interval", "5", "--valid-interval", "6"])
    (tmp_path / "exp/checkpoints/finished.json").unlink()
    (tmp_path / "exp/checkpoints/step-12.json").unlink()
    main([*command, "--save-interval", "5", "--valid-interval", "6"])  # again from step 10
    info = json.loads((tmp_path / "exp/model.json").read_text())
    assert info["train"]["precision"] == precision
    lines = [json.loads(line) for line in (tmp_path / "exp/train_log.jsonl").read_text().splitlines()]
    valid = [line for line in lines if line["part"] == "valid"]
    assert [line["step"] for line in valid] == [0, 6, 12]
    assert speechrep.load(tmp_path / "exp", "cuda").reps(torch.zeros(1, 5, 5, device="cuda")).is_cuda


def test_compiled_layers_give_the_same_loss(tmp_path):
    plain, compiled = model("mockingjay").cuda(), model("mockingjay").cuda()
    for part in compiled.parts_to_compile():
        part.compile(dynamic=True)
    feats, lens = (x.cuda() for x in batch([23, 9, 17]))
    losses = []
    for upstream in (plain, compiled):
        torch.manual_seed(1)
        losses.append(upstream.pretrain_loss(feats, lens)[0])
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-4)
    assert list(plain.state_dict()) == list(compiled.state_dict())
