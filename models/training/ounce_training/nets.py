"""The two networks: plain 3x3 convolutions, batch norm, ReLU.

Nothing here needs more of a runtime than Conv, Relu, Resize and a few
element-wise operations, and every convolution is dense: that is what runs
fastest on a CPU, and what quantises and prunes without surprises.
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

    The body is the detector's, one block shorter, so that it can start from a
    trained detector instead of from random weights.
    """

    SIZE = 150

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(stage(3, 16, 0), stage(16, 32, 1))
        self.down8 = stage(32, 48, 2)
        self.down16 = stage(48, 96, 2)
        self.down32 = stage(96, 128, 0)
        self.head = nn.Sequential(nn.Linear(256, 48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 1))

    def start_from(self, detector: dict) -> None:
        """Takes the weights of the body from a detector's."""
        mine = self.state_dict()
        mine.update({k: v for k, v in detector.items() if k in mine})
        self.load_state_dict(mine)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Before the sigmoid."""
        x = self.down32(self.down16(self.down8(self.stem(x))))
        x = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(x).sigmoid()


class Detector(nn.Module):
    """Anchor-free, one class. Each cell of three grids says how far the four
    sides of a person's box are from its centre, and how sure it is.

    The output is [n, 5, cells]: cx, cy, w, h in input pixels, then the score.
    """

    SIZE = 224
    STRIDES = (8, 16, 32)

    def __init__(self, neck: int = 64):
        super().__init__()
        self.stem = nn.Sequential(stage(3, 16, 0), stage(16, 32, 1))
        self.down8 = stage(32, 48, 2)
        self.down16 = stage(48, 96, 2)
        self.down32 = stage(96, 128, 1)
        self.lateral = nn.ModuleList(ConvBlock(c, neck, kernel=1) for c in (48, 96, 128))
        self.box_tower = ConvBlock(neck, neck)
        self.score_tower = ConvBlock(neck, neck)
        self.box = nn.ModuleList(nn.Conv2d(neck, 4, 1) for _ in self.STRIDES)
        self.score = nn.ModuleList(nn.Conv2d(neck, 1, 1) for _ in self.STRIDES)
        for box, score in zip(self.box, self.score):
            nn.init.normal_(box.weight, std=0.01)
            nn.init.constant_(box.bias, 0.7)
            nn.init.normal_(score.weight, std=0.01)
            nn.init.constant_(score.bias, -4.0)
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

    def raw(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Side distances in strides (before the exponential) and score logits."""
        p8 = self.down8(self.stem(x))
        p16 = self.down16(p8)
        p32 = self.down32(p16)
        f8, f16, f32 = (lat(p) for lat, p in zip(self.lateral, (p8, p16, p32)))
        f16 = f16 + F.interpolate(f32, scale_factor=2.0, mode="nearest")
        f8 = f8 + F.interpolate(f16, scale_factor=2.0, mode="nearest")
        boxes, scores = [], []
        for level, f in enumerate((f8, f16, f32)):
            cells = (self.SIZE // self.STRIDES[level]) ** 2
            boxes.append(self.box[level](self.box_tower(f)).reshape(-1, 4, cells))
            scores.append(self.score[level](self.score_tower(f)).reshape(-1, 1, cells))
        return torch.cat(boxes, 2), torch.cat(scores, 2)

    def sides(self, raw_boxes: torch.Tensor) -> torch.Tensor:
        """x1 y1 x2 y2 in input pixels, [n, 4, cells]."""
        distance = raw_boxes.clamp(max=4.0).exp() * self.strides
        return torch.cat([self.centres - distance[:, :2], self.centres + distance[:, 2:]], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raw_boxes, scores = self.raw(x)
        distance = raw_boxes.clamp(max=4.0).exp() * self.strides
        before, after = distance[:, :2], distance[:, 2:]
        centre = self.centres + (after - before) / 2
        return torch.cat([centre, before + after, scores.sigmoid()], 1)


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
