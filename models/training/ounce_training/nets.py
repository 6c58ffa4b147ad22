"""The networks: plain 3x3 convolutions, batch norm, ReLU.

Every convolution is dense: that is what runs fastest on a CPU, what int8
doubles, and what quantises without surprises. Nothing here needs more of a
runtime than Conv, Relu, Resize, MaxPool and a few element-wise operations.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU, and a shortcut where `add` says so."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, add: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(c_out)
        self.add = add and stride == 1 and c_in == c_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm(self.conv(x)), inplace=True)
        return x + y if self.add else y

    def fuse(self) -> None:
        """Folds the batch norm into the convolution. For evaluation only."""
        self.conv = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
        self.norm = nn.Identity()


def stage(c_in: int, c_out: int, more: int) -> nn.Sequential:
    """One halving of the resolution, then `more` blocks at the new one."""
    blocks = [ConvBlock(c_in, c_out, stride=2)]
    blocks += [ConvBlock(c_out, c_out, add=True) for _ in range(more)]
    return nn.Sequential(*blocks)


class Presence(nn.Module):
    """P(there is a pedestrian in this picture), [n, 1].

    The body is the detector's, without its last blocks, so that it can start from a
    trained detector instead of from random weights.
    """

    SIZE = 150
    INPUT, OUTPUT = "image", "probability"

    def __init__(self, channels=(16, 32, 48, 96, 128), blocks=(0, 0, 2, 2, 0)):
        super().__init__()
        widths = (3, *channels)
        self.stages = nn.ModuleList(map(stage, widths, channels, blocks))
        self.head = nn.Sequential(
            nn.Linear(2 * channels[-1], 48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 1)
        )

    def start_from(self, detector: dict) -> None:
        """Takes the weights of the body from a detector's."""
        mine = self.state_dict()
        taken = {k: v for k, v in detector.items() if k in mine and v.shape == mine[k].shape}
        if not taken:
            raise SystemExit("none of the detector's weights fits this network")
        print(f"{len(taken)} of {len(mine)} tensors start as the detector's")
        self.load_state_dict(mine | taken)

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        """Before the sigmoid."""
        for part in self.stages:
            x = part(x)
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.raw(x).sigmoid()


class ClassicPresence(nn.Module):
    """The textbook layout, 19 million weights, nearly all in one dense layer: three
    convolutions of 32, 64 and 128 with max pooling, 512 dense, one sigmoid.

    Here to show what compression makes of it; `Presence` is what is shipped.
    """

    SIZE = 150
    INPUT, OUTPUT = "image", "probability"

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(c_in, c_out, 3), nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(128 * 17 * 17, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 1)
        )

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        """Before the sigmoid."""
        return self.head(self.body(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.raw(x).sigmoid()


class Detector(nn.Module):
    """Anchor-free, one class. Each cell of three grids says how far the four
    sides of a person's box are from its centre, and how sure it is.

    The output is [n, 5, cells]: cx, cy, w, h in input pixels, then the score.
    """

    SIZE = 224
    STRIDES = (8, 16, 32)
    INPUT, OUTPUT = "image", "boxes"

    def __init__(self, channels=(16, 32, 48, 96, 128), blocks=(0, 0, 2, 3, 2), neck: int = 48):
        super().__init__()
        widths = (3, *channels)
        self.stages = nn.ModuleList(map(stage, widths, channels, blocks))
        self.lateral = nn.ModuleList(ConvBlock(c, neck, kernel=1) for c in channels[2:])
        self.tower = ConvBlock(neck, neck)
        self.heads = nn.ModuleList(nn.Conv2d(neck, 5, 1) for _ in self.STRIDES)
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.01)
            head.bias.data = torch.tensor([0.7, 0.7, 0.7, 0.7, -4.0])
        centres, strides = self.grid(self.SIZE)
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("strides", strides, persistent=False)

    @classmethod
    def grid(cls, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cell centres [2, cells] and strides [1, cells], in input pixels."""
        centres, strides = [], []
        for s in cls.STRIDES:
            n = size // s
            y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
            centres.append(torch.stack([x.flatten(), y.flatten()]) * s + s / 2)
            strides.append(torch.full((1, n * n), float(s)))
        return torch.cat(centres, 1).float(), torch.cat(strides, 1)

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        """[n, 5, cells]: side distances in strides (before the exponential), score logit."""
        levels = []
        for part in self.stages:
            x = part(x)
            levels.append(x)
        f8, f16, f32 = (lateral(x) for lateral, x in zip(self.lateral, levels[-3:]))
        f16 = f16 + F.interpolate(f32, scale_factor=2.0, mode="nearest")
        f8 = f8 + F.interpolate(f16, scale_factor=2.0, mode="nearest")
        found = []
        for head, stride, f in zip(self.heads, self.STRIDES, (f8, f16, f32)):
            found.append(head(self.tower(f)).reshape(-1, 5, (self.SIZE // stride) ** 2))
        return torch.cat(found, 2)

    def sides(self, raw: torch.Tensor) -> torch.Tensor:
        """x1 y1 x2 y2 in input pixels, [n, 4, cells]."""
        distance = raw[:, :4].clamp(max=4.0).exp() * self.strides
        return torch.cat([self.centres - distance[:, :2], self.centres + distance[:, 2:]], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raw = self.raw(x)
        distance = raw[:, :4].clamp(max=4.0).exp() * self.strides
        before, after = distance[:, :2], distance[:, 2:]
        centre = self.centres + (after - before) / 2
        return torch.cat([centre, before + after, raw[:, 4:].sigmoid()], 1)


def fused(model: nn.Module) -> nn.Module:
    """The model ready for export: evaluation mode, batch norms folded."""
    model.eval()
    for module in model.modules():
        if isinstance(module, ConvBlock):
            module.fuse()
    return model


def parameters(model: nn.Module) -> int:
    """How many weights the model has."""
    return sum(p.numel() for p in model.parameters())
