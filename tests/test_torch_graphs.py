"""Modules of torch as functions of JAX: loss and gradient in float64 are those of torch's own autograd, to rounding."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from thermosim.models.torch_graphs.export import Exported, apart, default_type  # noqa: E402

F = nn.functional


class Sequence(nn.Module):
    """Attention, two recurrent layers and a token that does not learn."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 8, padding_idx=0)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.gru, self.lstm = nn.GRU(8, 6, batch_first=True), nn.LSTM(6, 6, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        tokens = self.embedding(x.long().abs() % 5)
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        hidden = self.lstm(self.gru(self.attention(tokens, src_mask=mask))[0])[0]
        return self.out(hidden[:, -1])


class Tied(nn.Module):
    """One matrix twice, a buffer, a frozen parameter, and an attention whose scale is a root."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("shift", torch.linspace(0.0, 1.0, 4))
        self.frozen = nn.Parameter(torch.full((4,), 0.5), requires_grad=False)

    def forward(self, x):
        h = self.second(torch.tanh(self.first(x)) + self.shift) * self.frozen
        q = h.reshape(-1, 2, 2, 1)
        h = F.scaled_dot_product_attention(q, torch.sin(q), q).flatten(1)
        return torch.einsum("bi,ji->bj", h, self.first.weight)[:, :3].cumsum(1) + h.norm(dim=1, keepdim=True)


def activations(x):
    kinds = (F.elu, F.selu, F.silu, F.mish, F.softplus, F.logsigmoid, F.hardtanh, F.leaky_relu, F.softsign, F.relu6)
    more = (F.hardswish, lambda z: F.gelu(z, approximate="tanh"), lambda z: z.clamp(-0.5, 0.5), torch.erf, torch.atan)
    return torch.stack([f(3.0 * x) for f in (*kinds, *more)]).sum(0) + x.std(0) + x.amax(1, keepdim=True) ** 3


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


IMAGES = {
    "convolution": nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2),
    "transposed": nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, dilation=2, groups=2),
    "depthwise, circular": nn.Conv2d(4, 4, 3, padding="same", groups=4, padding_mode="circular"),
    "pools": nn.Sequential(nn.Conv2d(4, 4, 1), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2, padding=1), nn.Tanh()),
    "normalisers": nn.Sequential(
        *(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False), nn.GroupNorm(2, 4), nn.ReLU()),
        *(nn.InstanceNorm2d(4, affine=True), nn.LayerNorm((6, 6)), nn.AdaptiveAvgPool2d(2)),
        *(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4).eval()),
    ),
    "in one dimension": nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 4, 5, 2), nn.MaxPool1d(3), nn.AvgPool1d(2)),
}
ROWS = {
    "activations": nn.Sequential(nn.Linear(4, 5), Function(activations), nn.Linear(5, 3)),
    "sequence": Sequence(),
    "tied": Tied(),
}


@pytest.mark.parametrize("name", [*IMAGES, *ROWS])
def test_loss_and_gradient_are_those_of_torch(name):
    torch.manual_seed(0)
    module = (IMAGES.get(name) or ROWS[name]).double()
    x = torch.randn(5, *((4, 6, 6) if name in IMAGES else (4,)), dtype=torch.float64)
    y = torch.arange(5) % 3

    def loss(net, x, y):
        out = net(x).flatten(1)
        return F.cross_entropy(out, y) + F.smooth_l1_loss(out, torch.zeros_like(out), beta=0.5)

    with apart(), default_type(np.float64):
        exported = Exported(loss, module, (x, y), __file__)
    learned = {n: p for n, p in module.named_parameters() if p.requires_grad}
    assert set(exported.parameters.values()) == set(learned)
    value = loss(module, x, y)
    slopes = dict(zip(learned, torch.autograd.grad(value, list(learned.values()))))
    with jax.enable_x64(True):
        given = {n: p.detach().numpy() for n, p in learned.items()}
        found, gradient = jax.jit(jax.value_and_grad(exported), compiler_options={"xla_backend_optimization_level": 0})(
            given, x.numpy(), y.numpy()
        )
    np.testing.assert_allclose(float(found), value.item(), rtol=1e-12)
    for parameter, slope in slopes.items():
        np.testing.assert_allclose(gradient[parameter], slope.numpy(), rtol=1e-9, atol=1e-12, err_msg=parameter)
