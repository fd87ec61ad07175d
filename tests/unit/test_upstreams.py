"""The models against slow, obvious versions; what stands on padding never matters."""

import math

import numpy as np
import pytest
import torch
from models import batch, meta, model
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from speechrep.errors import InputError
from speechrep.upstream.apc import ApcConfig
from speechrep.upstream.attention import valid_frames
from speechrep.upstream.mockingjay import MockingjayConfig
from speechrep.upstream.registry import CONFIGS, build
from speechrep.upstream.transformer import take

LENS = [23, 9, 17, 1, 4]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "config", "dim", "encoder", "head"),
    [
        ("apc", ApcConfig(), 80, 4_105_296, None),
        ("apc", ApcConfig(hidden_size=768), 160, 9_352_864, None),
        ("mockingjay", MockingjayConfig(), 160, 21_388_800, 715_168),
        ("mockingjay", MockingjayConfig(), 80, 21_327_360, 653_648),
        ("mockingjay", MockingjayConfig(num_layers=12), 80, 85_118_208, 653_648),
        (
            "mockingjay",
            MockingjayConfig(num_layers=12, downsample=3, mask_span=3, target_dim=1025),
            160,
            85_425_408,
            2_956_803,
        ),
    ],
)
def test_sizes_of_the_papers_models(name, config, dim, encoder, head):
    with torch.device("meta"):
        built = build(name, config, meta(dim))
    assert count(built) - (count(built.head) if head else 0) == encoder
    assert head is None or count(built.head) == head


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("apc", {}),
        ("apc", {"loss_on": "padded"}),
        ("apc", {"prenet_layers": 2, "residual": "inner"}),
        ("apc_transformer", {}),
        ("mockingjay", {}),
        ("mockingjay", {"downsample": 3}),
        ("mockingjay", {"mask_starts": "original", "loss_on": "starts"}),
        ("surface", {"context": 2}),
    ],
)
@pytest.mark.parametrize("pad", [1e4, math.nan])
def test_padding_changes_nothing(name, options, pad):
    upstream = model(name, **options)
    results = []
    for value in (0.0, pad):
        feats, lens = batch(LENS, pad=value)
        hiddens = upstream(feats, lens).hiddens
        if name == "surface":
            results.append([hiddens])
            continue
        hiddens[-1].sum().backward()
        torch.manual_seed(7)
        loss, stats = upstream.pretrain_loss(feats, lens)
        loss.backward()
        results.append([hiddens, loss, stats["weight"], [p.grad.clone() for p in upstream.parameters()]])
        upstream.zero_grad()
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("apc", {"prenet_layers": 1}),
        ("apc_transformer", {}),
        ("mockingjay", {"downsample": 2}),
        ("surface", {"context": 2}),
    ],
)
def test_a_batch_equals_its_utterances_one_by_one(name, options):
    upstream = model(name, **options).eval()
    feats, lens = batch([23, 9, 17, 4])
    together = upstream(feats, lens)
    r = upstream.downsample
    assert together.frame_shift_ms == 10.0 * r and together.hidden_lens.tolist() == [
        n // r for n in lens.tolist()
    ]
    for i, length in enumerate(lens.tolist()):
        alone = upstream(feats[i : i + 1, :length])
        for whole, single in zip(together.hiddens, alone.hiddens, strict=True):
            torch.testing.assert_close(whole[i : i + 1, : length // r], single, rtol=0, atol=1e-5)
            assert not whole[i, length // r :].any()


def test_shapes_of_reps():
    upstream = model("mockingjay", downsample=3).eval()
    feats = torch.randn(2, 20, 6)
    assert upstream.reps(feats).shape == (2, 18, 8)
    assert upstream.reps(feats, tile=False).shape == (2, 6, 8)
    assert upstream.reps(feats, all_layers=True).shape == (2, 2, 18, 8)
    assert upstream.reps(feats, all_layers=True, tile=False).shape == (2, 2, 6, 8)
    tiled, short = upstream.reps(feats), upstream.reps(feats, tile=False)
    assert torch.equal(tiled[:, 3:6], short[:, 1:2].expand(-1, 3, -1))


@pytest.mark.parametrize(
    "feats", [torch.zeros(2, 5, 7), torch.zeros(5, 6), (torch.zeros(2, 5, 6), torch.tensor([5, 6]))]
)
def test_wrong_input_is_refused(feats):
    with pytest.raises(InputError):
        model("apc")(*(feats if isinstance(feats, tuple) else (feats,)))


def slow_apc(upstream, feats, lens):
    """Utterance by utterance, frame by frame."""
    n, total, frames = upstream.config.time_shift, 0.0, 0
    for utt, length in zip(feats, lens.tolist(), strict=True):
        hidden = utt[None, :length]
        for rnn in upstream.rnns:
            output = rnn(hidden)[0]
            hidden = output + hidden if output.shape == hidden.shape else output
        for t in range(length - n):
            total = total + (upstream.postnet(hidden[0, t]) - utt[t + n]).abs().mean()
            frames += 1
    return total, frames


@pytest.mark.parametrize("time_shift", [1, 3])
@pytest.mark.parametrize(
    "hidden_size", [8, 6]
)  # 6: the input's width, so that the first layer is residual too
def test_apc_loss_and_gradient_equal_the_slow_version(time_shift, hidden_size):
    upstream = model("apc", time_shift=time_shift, hidden_size=hidden_size)
    feats, lens = batch(LENS)
    loss, stats = upstream.pretrain_loss(feats, lens)
    slow, frames = slow_apc(upstream, feats, lens)
    assert stats["weight"] == frames
    torch.testing.assert_close(loss, slow)
    fast_grads = torch.autograd.grad(loss, list(upstream.parameters()))
    torch.testing.assert_close(fast_grads, torch.autograd.grad(slow, list(upstream.parameters())))


@pytest.mark.parametrize("name", ["apc", "apc_transformer"])
def test_apc_predicts_the_frame_ahead_and_not_the_present(name):
    upstream = model(name, time_shift=2)
    feats, lens = batch([10])
    upstream.eval()
    copy = upstream.pretrain_loss(feats, lens)[1]["copy"]
    expected = (feats[0, 2:10] - feats[0, :8]).abs().mean(-1).sum()
    torch.testing.assert_close(copy, expected)
    changed = feats.clone()
    changed[0, 6:] += 1  # the future
    torch.testing.assert_close(
        upstream(changed, lens).hiddens[-1][0, :6], upstream(feats, lens).hiddens[-1][0, :6]
    )


def test_apc_continues_from_its_state():
    upstream = model("apc").eval()
    feats, _ = batch([20])
    whole, _ = upstream.run(feats)
    first, state = upstream.run(feats[:, :7])
    second, _ = upstream.run(feats[:, 7:], state)
    for all_, a, b in zip(whole, first, second, strict=True):
        torch.testing.assert_close(all_, torch.cat([a, b], 1))


def test_apc_padded_loss_counts_padding_as_the_original_did():
    """Which packed its sequences: on padding only the output's bias speaks."""
    upstream = model("apc", loss_on="padded", time_shift=2, residual="all")
    feats, lens = batch([10, 7, 4])
    loss, stats = upstream.pretrain_loss(feats, lens)
    T = feats.shape[1] - 2
    assert stats["weight"] == 3 * T
    hidden = feats[:, :T]
    for rnn in upstream.rnns:
        packed = pack_padded_sequence(hidden, lens - 2, batch_first=True)
        output, _ = pad_packed_sequence(rnn(packed)[0], batch_first=True, total_length=T)
        hidden = output + hidden if output.shape == hidden.shape else output
    expected = (upstream.postnet(hidden) - feats[:, 2:]).abs().mean(-1).sum()
    torch.testing.assert_close(loss, expected)
    parameters = list(upstream.parameters())
    for one, other in zip(*(torch.autograd.grad(x, parameters) for x in (loss, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def torch_layer(layer, hidden_size: int) -> nn.TransformerEncoderLayer:
    """torch's own encoder layer with the same weights."""
    other = nn.TransformerEncoderLayer(
        hidden_size, 2, 16, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True, norm_first=False
    )
    attn = layer.attn
    state = {f"linear1.{k}": v for k, v in layer.ffn["in"].state_dict().items()}
    state |= {f"linear2.{k}": v for k, v in layer.ffn["out"].state_dict().items()}
    state |= {f"norm{i}.{k}": v for i in (1, 2) for k, v in getattr(layer, f"norm{i}").state_dict().items()}
    state |= {f"self_attn.out_proj.{k}": v for k, v in attn["out"].state_dict().items()}
    for kind in ("weight", "bias"):
        state[f"self_attn.in_proj_{kind}"] = torch.cat([getattr(attn[name], kind) for name in "qkv"])
    other.load_state_dict(state)
    return other


def slow_mockingjay(upstream, feats, lens, masked):
    """Utterance by utterance, with torch's own layers; the loss over the chosen positions one by one."""
    H, r = upstream.config.hidden_size, upstream.downsample
    total, positions = 0.0, 0
    for i, length in enumerate((lens // r).tolist()):
        x = masked.inputs[i, :length]
        table = torch.tensor(
            [
                [(math.cos, math.sin)[j % 2 == 0](t / 10000 ** (2 * (j // 2) / H)) for j in range(H)]
                for t in range(length)
            ]
        )
        hidden = upstream.input.norm(upstream.input.proj(x) + table.reshape(length, H))[None]
        for layer in upstream.layers:
            hidden = torch_layer(layer, H)(hidden) if length else hidden
        for t in range(length):
            if masked.chosen[i, t]:
                aim = feats[i, t * r : (t + 1) * r].flatten()
                total = total + (upstream.reconstruct(hidden[0, t]) - aim).abs().mean()
                positions += 1
    return total, positions


@pytest.mark.parametrize("downsample", [1, 2])
def test_mockingjay_loss_equals_the_slow_version(downsample):
    upstream = model("mockingjay", downsample=downsample, mask_share=0.4)
    feats, lens = batch(LENS)
    torch.manual_seed(3)
    masked = upstream.mask(upstream.stack(feats), lens // downsample)
    torch.manual_seed(3)
    loss, stats = upstream.pretrain_loss(feats, lens)
    slow, positions = slow_mockingjay(upstream, feats, lens, masked)
    assert stats["weight"] == positions > 5
    torch.testing.assert_close(loss, slow, rtol=1e-4, atol=1e-4)
    target = upstream.stack(feats)[masked.chosen]
    torch.testing.assert_close(stats["zero"], target.abs().mean(-1).sum())


def test_mockingjay_gradient_equals_explicit_attention():
    upstream = model("mockingjay")
    feats, lens = batch(LENS)
    layer = upstream.layers[0]
    hidden = torch.randn(5, feats.shape[1], 8, requires_grad=True)
    valid = valid_frames(lens, feats.shape[1], head_size=4)
    inside = valid.mask[:, 0, 0, :, None]
    out = torch.randn(5, feats.shape[1], 8) * inside
    fused = layer(hidden, valid)
    weights = layer.attention(hidden, valid.mask)
    values = layer.attn["v"](hidden).view(5, -1, 2, 4).transpose(1, 2)
    context = layer.attn["out"]((weights @ values).transpose(1, 2).reshape(5, -1, 8))
    explicit = layer.norm1(context + hidden)
    explicit = layer.norm2(layer.ffn["out"](nn.functional.gelu(layer.ffn["in"](explicit))) + explicit)
    torch.testing.assert_close(fused * inside, explicit * inside, rtol=1e-4, atol=1e-5)
    grads = [torch.autograd.grad((x * out).sum(), [hidden, *layer.parameters()]) for x in (fused, explicit)]
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("places", [[[3, 0], [7, 5], [1, 2]], [[], [], []]])
def test_a_layer_at_some_places_is_the_layer_with_the_others_left_out(places):
    layer = model("mockingjay").layers[0]
    hidden = torch.randn(3, 8, 8, requires_grad=True)
    valid = valid_frames(torch.tensor([8, 8, 4]), 8, head_size=4)
    at = torch.tensor(places, dtype=torch.int64)
    some, whole = layer(hidden, valid, places=at), take(layer(hidden, valid), at)
    torch.testing.assert_close(some, whole)
    out = torch.randn(whole.shape)
    grads = [torch.autograd.grad((x * out).sum(), [hidden, *layer.parameters()]) for x in (some, whole)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    ("name", "options", "shares"),
    [
        ("mockingjay", {"attention_dropout": 0.25}, [0.5, *[0.25, 0.5, 0.5] * 2]),
        ("apc_transformer", {"attention_dropout": 0.25}, [0.5, *[0.25, 0.5, 0.5] * 2]),
        ("apc", {"prenet_dropout": 0.25, "prenet_layers": 2, "num_layers": 3}, [0.25, 0.25, 0.5, 0.5]),
    ],
)
def test_dropout_is_where_it_is_said_to_be_and_in_training_alone(name, options, shares, monkeypatch):
    upstream, seen = model(name, dropout=0.5, **options), []
    plain, attention = nn.functional.dropout, nn.functional.scaled_dot_product_attention

    def dropout(x, p, training):
        seen.append(p * training)
        return plain(x, p, training)

    def attend(q, k, v, mask, p, causal):
        seen.append(p)
        return attention(q, k, v, mask, p, causal)

    monkeypatch.setattr(nn.functional, "dropout", dropout)
    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", attend)
    for training, expected in ((True, shares), (False, [0.0] * len(shares))):
        seen.clear()
        upstream.train(training).hidden_states(*batch([9, 7]))
        assert seen == expected


@pytest.mark.parametrize("name", ["mockingjay", "apc_transformer"])
def test_transformers_begin_as_their_options_say(name):
    upstream = model(name, hidden_size=64, init_std=0.3, layer_norm_eps=0.125)
    weights = [part.weight for part in upstream.modules() if isinstance(part, nn.Linear)]
    assert [weight.std().item() for weight in weights] == pytest.approx([0.3] * len(weights), rel=0.15)
    assert {part.eps for part in upstream.modules() if isinstance(part, nn.LayerNorm)} == {0.125}


def test_mockingjay_learns_to_fill_gaps():
    """Waves of random speed and phase: what is masked follows from what is not."""
    upstream = model("mockingjay", hidden_size=32, ffn_size=64, init_std=0.1)
    optimizer = torch.optim.Adam(upstream.parameters(), lr=3e-3)
    relative = []
    for step in range(150):
        torch.manual_seed(step)
        time = torch.arange(60)[None, :, None] * (0.05 + 0.1 * torch.rand(16, 1, 1)) + 6 * torch.rand(
            16, 1, 1
        )
        feats = (time + torch.arange(6)).sin()
        loss, stats = upstream.pretrain_loss(feats, None)
        optimizer.zero_grad()
        (loss / stats["weight"]).backward()
        optimizer.step()
        relative.append(loss.item() / stats["zero"].item())
    assert sum(relative[-10:]) / 10 < 0.6 < relative[0]


def test_mockingjay_trains_on_other_targets():
    upstream = model("mockingjay", downsample=2, target_dim=9)
    feats, lens = batch([12, 7])
    loss, stats = upstream.pretrain_loss(feats, lens, torch.randn(2, feats.shape[1], 9))
    assert torch.isfinite(loss) and stats["weight"] > 0


def test_transformer_apc_loss_equals_the_slow_version():
    """Utterance by utterance, with torch's own causal layers."""
    upstream = model("apc_transformer", activation="gelu", layer_norm_eps=1e-12, time_shift=2)
    feats, lens = batch(LENS)
    total, frames = 0.0, 0
    for utt, length in zip(feats, lens.tolist(), strict=True):
        if length <= 2:
            continue
        past = utt[None, : length - 2]
        hidden = upstream.input.norm(upstream.input.proj(past) + upstream.input.positions(length - 2, past))
        causal = nn.Transformer.generate_square_subsequent_mask(length - 2)
        for layer in upstream.layers:
            hidden = torch_layer(layer, 8)(hidden, src_mask=causal, is_causal=True)
        total = total + (upstream.postnet(hidden[0]) - utt[2:length]).abs().mean(-1).sum()
        frames += length - 2
    loss, stats = upstream.pretrain_loss(feats, lens)
    assert stats["weight"] == frames
    torch.testing.assert_close(loss, total, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 8])
@pytest.mark.parametrize("name", ["apc", "apc_transformer", "mockingjay"])
def test_utterances_shorter_than_anything(name, length):
    upstream = model(name, **({"mask_span": 7} if name == "mockingjay" else {}))
    feats, lens = batch([length, length])
    for given in (lens, None):
        loss, stats = upstream.pretrain_loss(feats[:, :length], given)
        assert torch.isfinite(loss) and stats["weight"] >= 0
    assert (stats["weight"] > 0) == (length >= upstream.shortest() or name == "mockingjay")


def test_mockingjay_learns_from_two_positions_at_least():
    assert model("mockingjay").shortest() == 2
    assert model("mockingjay", downsample=3).shortest() == 6


@pytest.mark.parametrize("training", [True, False])
def test_trying_for_the_layers_dimensions_leaves_the_mode(training):
    upstream = model("mockingjay").train(training)
    assert upstream.layer_dims() == [8, 8]
    assert all(part.training == training for part in upstream.modules())
    upstream.train().layers[0].eval()  # a part that its user keeps still
    upstream.layer_dims()
    assert upstream.training and upstream.layers[1].training and not upstream.layers[0].training


@pytest.mark.parametrize("name", ["apc_transformer", "mockingjay"])
def test_positions_are_the_same_for_every_copy_and_number_format(name):
    """Tables of different lengths lie in buffers of no process, which DDP would send to one another."""
    upstream, feats = model(name).eval(), torch.randn(1, 9, 6)
    before = upstream.reps(feats)
    assert not list(upstream.buffers()) and upstream.input.positions.table.device.type == "cpu"
    with torch.device("meta"):
        assert model(name).input.positions.table.device.type == "cpu"
    torch.optim.swa_utils.AveragedModel(upstream).update_parameters(upstream)
    weights = {key: value.clone() for key, value in upstream.state_dict().items()}
    rounded = upstream.bfloat16()
    for length in (9, 30):  # the second is longer than any before
        assert rounded.reps(torch.randn(1, length, 6)).isfinite().all()
    upstream.float().load_state_dict(weights)
    assert torch.equal(upstream.reps(feats), before)
    upstream.to("meta").to_empty(device="cpu").load_state_dict(weights)
    assert torch.equal(upstream.reps(feats), before)


@pytest.mark.parametrize("name", ["apc", "mockingjay"])
def test_frames_of_other_float_types_are_taken(name):
    feats = torch.randn(1, 9, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(name).double().reps(feats).dtype == torch.float64
    upstream = model(name).eval()
    assert torch.equal(upstream.reps(feats.double()), upstream.reps(feats))
    assert upstream.reps(feats.half()).dtype == torch.float32


def test_lengths_told_by_zeros_only_on_request():
    feats = torch.randn(1, 40, 6)
    feats[:, 30:] = 0
    feats[0, 7] = torch.tensor([1.0, -1, 2, -2, 0, 0])  # to the original, zero is what sums to zero
    for lens_from, positions in (("given", 40), ("nonzero", 29)):
        upstream = model("mockingjay", lens_from=lens_from, mask_share=1.0, mask_span=1)
        assert upstream.pretrain_loss(feats, None)[1]["weight"] == positions
        feats[:, 30:] = math.nan  # told to be padding, it counts in neither case
        assert upstream.pretrain_loss(feats, torch.tensor([30]))[1]["weight"] == min(positions, 30)
        feats[:, 30:] = 0


@pytest.mark.parametrize(("loss_on", "positions"), [("masked", 39), ("starts", 13)])
def test_loss_on_all_that_is_masked_or_on_the_first_of_each_run(loss_on, positions):
    upstream = model("mockingjay", loss_on=loss_on, mask_share=1.0, mask_span=3)
    assert upstream.pretrain_loss(torch.randn(1, 40, 6), None)[1]["weight"] == positions


def test_zeros_are_counted_in_stacked_targets():
    """As the original: a silent frame whose neighbours speak shortens nothing, nor does one of the input."""
    feats, targets = torch.randn(2, 31, 6), torch.randn(2, 31, 6)
    feats[0, :20] = targets[0, 4] = targets[1, 24:] = 0  # the last frame is left over
    upstream = model("mockingjay", lens_from="nonzero", downsample=3, mask_share=1.0, mask_span=1)
    assert upstream.pretrain_loss(feats, None, targets)[1]["weight"] == 10 + 8


@pytest.mark.parametrize("name", ["apc", "apc_transformer", "mockingjay", "surface"])
@pytest.mark.parametrize(
    ("feats", "lens", "complaint"),
    [
        (torch.zeros(0, 5, 6), None, r"feats has shape \(0, 5, 6\)"),
        (torch.zeros(2, 0, 6), None, r"feats has shape \(2, 0, 6\)"),
        (torch.zeros(2, 5, 6).numpy(), None, "feats is a ndarray, want a torch.Tensor"),
        (torch.zeros(2, 5, 6, dtype=torch.int64), None, "feats is torch.int64 .*want torch.float32"),
        (torch.zeros(2, 5, 6), [5, None], "feat_lens: .*want int64"),
        (torch.zeros(2, 5, 6), [5, -1], "feat_lens has -1 of 5 frames"),
        (torch.zeros(2, 5, 6), [5, 6], "feat_lens has 6 of 5 frames"),
        (torch.zeros(2, 5, 6), [True, True], "feat_lens is torch.bool"),
    ],
)
def test_batches_that_are_none_are_told(name, feats, lens, complaint):
    with pytest.raises(InputError, match=complaint):
        model(name)(feats, lens)
    assert model(name)(torch.zeros(2, 5, 6), [5, 3]).hidden_lens.tolist() == [5, 3]  # a list will do


def test_surface_context_repeats_the_edges():
    feats = torch.arange(1.0, 5.0).reshape(1, 4, 1)
    stacked = model("surface", dim=1, context=1)(torch.cat([feats, feats]), torch.tensor([4, 2])).hiddens[0]
    assert stacked[0].tolist() == [[1, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 4]]
    assert stacked[1].tolist() == [[1, 1, 2], [1, 2, 2], [0, 0, 0], [0, 0, 0]]


def audio_model(**changes):
    """One that gives the very features, and a second of noise to make them of."""
    samples = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    return build("surface", CONFIGS["surface"](context=0), meta(**changes)), samples


def streamed(upstream, samples):
    pieces = upstream.stream(samples, 16000, window=30, margin=0)
    return torch.cat([piece.hiddens[0] for piece in pieces], 1)


def test_a_recording_is_taken_for_one_utterance_of_one_speaker():
    (utterance, samples), (speaker, _) = (audio_model(cmvn=cmvn) for cmvn in ("utterance", "speaker"))
    whole = utterance.extract(samples, 16000).hiddens[0]
    torch.testing.assert_close(speaker.extract(samples, 16000).hiddens[0], whole, rtol=0, atol=0)
    torch.testing.assert_close(streamed(speaker, samples), whole, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_vars": False},
        {"cmvn": "none", "config": {"num_mel_bins": 6, "dither": 1.0}},
        {"cmvn": "none", "config": {"num_mel_bins": 6, "subtract_mean": True}},
        {"cmvn": "none", "config": {"num_mel_bins": 6, "unit_norm": "sample"}},
    ],
)
def test_a_recording_in_pieces_has_the_features_of_the_whole(changes):
    """A stretch of it alone would have other noise, another mean and another norm."""
    upstream, samples = audio_model(**changes)
    whole = upstream.extract(samples, 16000).hiddens[0]
    torch.testing.assert_close(streamed(upstream, samples), whole, rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", ["apc", "apc_transformer", "mockingjay"])
def test_the_loss_for_training_of_ones_own_is_checked(name):
    upstream = model(name).train()
    feats, lens = torch.randn(2, 30, 6), torch.tensor([30, 20])
    losses = []
    for given in (feats, feats.double()):
        torch.manual_seed(1)
        losses.append(upstream.training_loss(given, lens)[0])
    torch.manual_seed(1)
    assert losses == [upstream.pretrain_loss(feats, lens)[0]] * 2
    assert upstream.training_loss(feats)[1]["weight"] > 0
    for wrong, complaint in (
        ((feats[..., :5], lens), "want"),
        ((feats, [30, 40]), "feat_lens has 40 of 30 frames"),
        ((feats, [30, -5]), "feat_lens has -5 of 30 frames"),
        ((feats, lens, torch.randn(2, 29, 6)), "targets has shape"),
        ((feats, lens, torch.randn(2, 30, 1)), r"targets has shape \(2, 30, 1\) \(want \(2, 30, 6\)\)"),
    ):
        with pytest.raises(InputError, match=complaint):
            upstream.training_loss(*wrong)


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("mockingjay", {"loss_on": "start"}, r"loss_on is 'start', want one of \['masked', 'starts'\]"),
        ("mockingjay", {"activation": "tanh"}, "activation is 'tanh', want one of"),
        ("apc", {"residual": "some"}, "residual is 'some', want one of"),
        ("mockingjay", {"layer_norm_eps": math.inf}, "layer-norm-eps is inf, want a finite number"),
        ("mockingjay", {"target_dim": -1}, "target-dim is -1"),
    ],
)
def test_options_given_in_python_are_checked_too(name, options, complaint):
    with pytest.raises(InputError, match=complaint):
        model(name, **options)


def test_a_model_of_other_targets_wants_them():
    upstream, (feats, lens) = model("mockingjay", target_dim=9), batch([20, 30])
    with pytest.raises(InputError, match=r"feats, without targets, has shape \(2, 33, 6\).*\(2, 33, 9\)"):
        upstream.training_loss(feats, lens)
    assert upstream.training_loss(feats, lens, torch.zeros(2, 33, 9))[1]["weight"] > 0
