"""Published nets at their published sizes, from definitions of our own with seeded weights.

The shapes are those of the papers that each function names. Weights keep the scale of what passes
through (He et al., 2015), so that no layer dies or overflows; normalisations have statistics near
those with which Torch initialises them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from porter.torch7 import TorchObject
from porter.torch7.build import Modules, container, convolution, max_pooling, view
from porter.torch7.writer import write_t7

Pair = tuple[int, int]


class Layers(Modules):
    """What the nets below are written with; every method gives a list, to be joined by +."""

    def weight(self, outputs: int, planes: int, *kernel: int) -> Any:
        bound = math.sqrt(6 / (planes * math.prod(kernel)))
        return self.uniform(-bound, bound, outputs, planes, *kernel)

    def conv(
        self, planes: int, outputs: int, kernel: int | Pair, stride: int = 1, pad: int | Pair = 0
    ) -> list[TorchObject]:
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        around = (pad, pad) if isinstance(pad, int) else pad
        weight, bias = self.weight(outputs, planes, *size), self.uniform(-0.1, 0.1, outputs)
        return [self.complete(convolution(weight, bias, (stride, stride), around))]

    def dilated(self, planes: int, dilation: int) -> list[TorchObject]:
        (layer,) = self.conv(planes, planes, 3, pad=dilation)
        layer.typename = "nn.SpatialDilatedConvolution"
        layer.fields |= {"dilationW": float(dilation), "dilationH": float(dilation)}
        return [layer]

    def up_conv(
        self, planes: int, outputs: int, kernel: int, pad: int = 0, extra: int = 0
    ) -> list[TorchObject]:
        """Twice as large."""
        sizes = {"kW": kernel, "kH": kernel, "dW": 2, "dH": 2, "padW": pad, "padH": pad}
        bound = math.sqrt(6 * 4 / (planes * kernel * kernel))
        layer = self.module(
            "nn.SpatialFullConvolution",
            nInputPlane=planes,
            nOutputPlane=outputs,
            **sizes,
            adjW=extra,
            adjH=extra,
            weight=self.uniform(-bound, bound, planes, outputs, kernel, kernel),
            bias=self.uniform(-0.1, 0.1, outputs),
        )
        return [layer]

    def linear(self, inputs: int, outputs: int) -> list[TorchObject]:
        weight, bias = self.weight(outputs, inputs), self.uniform(-0.1, 0.1, outputs)
        return [self.module("nn.Linear", weight=weight, bias=bias)]

    def batch(self, planes: int) -> list[TorchObject]:
        # As if trained: with means and shifts of 0 runtimes that fold constants skip additions.
        layer = self.module(
            "nn.SpatialBatchNormalization",
            eps=1e-5,
            momentum=0.1,
            affine=True,
            weight=self.uniform(0, 1, planes),
            bias=self.uniform(-0.1, 0.1, planes),
            running_mean=self.uniform(-0.1, 0.1, planes),
            running_var=self.uniform(0.8, 1.2, planes),
        )
        layer.version = 2
        return [layer]

    def batch_relu(self, planes: int) -> list[TorchObject]:
        return [*self.batch(planes), self.relu(False)]

    def relu_conv(self, planes: int, outputs: int, kernel: int, pad: int) -> list[TorchObject]:
        return [*self.conv(planes, outputs, kernel, pad=pad), self.relu(True)]

    def prelu(self, planes: int = 0) -> list[TorchObject]:
        """Slopes of every plane, or one for all of them."""
        weight = self.uniform(0.2, 0.3, max(planes, 1))
        return [self.module("nn.PReLU", nOutputPlane=planes, weight=weight)]

    def leaky(self, slope: float = 0.2, inplace: bool = False) -> list[TorchObject]:
        return [self.module("nn.LeakyReLU", negval=slope, inplace=inplace)]

    def tanh(self) -> list[TorchObject]:
        return [self.module("nn.Tanh")]

    def flatten(self, numbers: int) -> list[TorchObject]:
        return [view(numbers, sample_rank=3)]

    def pool(self, kernel: int, stride: int, pad: int = 0) -> list[TorchObject]:
        return [self.complete(max_pooling((kernel, kernel), (stride, stride), (pad, pad)))]

    def pixel_shuffle(self) -> list[TorchObject]:
        return [self.module("nn.PixelShuffle", upscaleFactor=2, upscaleFactorSquared=4)]

    def sum_of(self, *branches: list[TorchObject]) -> list[TorchObject]:
        """The branches' sum."""
        return self.add(*(self.sequential(*branch) for branch in branches))

    def joined(self, *branches: list[TorchObject]) -> list[TorchObject]:
        """The branches' planes, one after the other."""
        return [self.concat(*(self.sequential(*branch) for branch in branches))]

    def unchanged(self) -> list[TorchObject]:
        return [self.module("nn.Identity")]


def fast_neural_style(net: Layers) -> list[TorchObject]:
    """J. Johnson et al., ECCV 2016, with D. Ulyanov's instance normalisation."""

    def styled(planes: int) -> list[TorchObject]:
        return [net.normalization("instance", planes), net.relu(True)]

    def residual() -> list[TorchObject]:
        inside = [*net.conv(128, 128, 3), *styled(128), *net.conv(128, 128, 3)]
        shaved = net.module("nn.ShaveImage", size=2)
        return net.sum_of([*inside, net.normalization("instance", 128)], [shaved])

    layers = [net.padding("Reflection", 40), *net.conv(3, 32, 9, pad=4), *styled(32)]
    layers += [*net.conv(32, 64, 3, 2, 1), *styled(64), *net.conv(64, 128, 3, 2, 1), *styled(128)]
    for _ in range(5):
        layers += residual()
    layers += [*net.up_conv(128, 64, 3, 1, 1), *styled(64), *net.up_conv(64, 32, 3, 1, 1)]
    layers += [*styled(32), *net.conv(32, 3, 9, pad=4), *net.tanh()]
    return [*layers, net.module("nn.MulConstant", constant_scalar=150, inplace=False)]


def cyclegan(net: Layers) -> list[TorchObject]:
    """J.-Y. Zhu et al., ICCV 2017: the generator of nine residual blocks."""

    def styled(planes: int) -> list[TorchObject]:
        return [net.normalization("instance", planes), net.relu(True)]

    def padded(size: int) -> list[TorchObject]:
        return [net.padding("Reflection", size)]

    def residual() -> list[TorchObject]:
        inside = [*padded(1), *net.conv(256, 256, 3), *styled(256)]
        inside += [*padded(1), *net.conv(256, 256, 3), net.normalization("instance", 256)]
        return net.sum_of(inside, net.unchanged())

    layers = [*padded(3), *net.conv(3, 64, 7), *styled(64)]
    layers += [*net.conv(64, 128, 3, 2, 1), *styled(128)]
    layers += [*net.conv(128, 256, 3, 2, 1), *styled(256)]
    for _ in range(9):
        layers += residual()
    layers += [*net.up_conv(256, 128, 3, 1, 1), *styled(128)]
    layers += [*net.up_conv(128, 64, 3, 1, 1), *styled(64)]
    return [*layers, *padded(3), *net.conv(64, 3, 7), *net.tanh()]


def srresnet(net: Layers) -> list[TorchObject]:
    """C. Ledig et al., CVPR 2017: sixteen blocks, four times as large."""

    def residual() -> list[TorchObject]:
        inside = [*net.conv(64, 64, 3, pad=1), *net.batch(64), *net.prelu()]
        return net.sum_of([*inside, *net.conv(64, 64, 3, pad=1), *net.batch(64)], net.unchanged())

    trunk = [layer for _ in range(16) for layer in residual()]
    trunk += [*net.conv(64, 64, 3, pad=1), *net.batch(64)]
    layers = [*net.conv(3, 64, 9, pad=4), *net.prelu(), *net.sum_of(trunk, net.unchanged())]
    for _ in range(2):
        layers += [*net.conv(64, 256, 3, pad=1), *net.pixel_shuffle(), *net.prelu()]
    return [*layers, *net.conv(64, 3, 9, pad=4)]


def enet(net: Layers) -> list[TorchObject]:
    """A. Paszke et al., 2016, for the nineteen classes of Cityscapes."""
    pools: list[TorchObject] = []

    def pooling() -> list[TorchObject]:
        pools.append(net.max_pooling(2))
        return [pools[-1]]

    def styled(planes: int) -> list[TorchObject]:
        return [*net.batch(planes), *net.prelu(planes)]

    def encode(
        planes: int, outputs: int, middle: Callable[[int], list[TorchObject]], halve: bool = False
    ) -> list[TorchObject]:
        inner, size = outputs // 4, 2 if halve else 1
        main = [*net.conv(planes, inner, size, size), *styled(inner)]
        main += [*middle(inner), *styled(inner)]
        main += [*net.conv(inner, outputs, 1), *net.batch(outputs)]
        skip = pooling() if halve else net.unchanged()
        if planes != outputs:
            more = {"dim": 1, "pad": outputs - planes, "nInputDim": 3, "value": 0, "index": 1}
            skip += [net.module("nn.Padding", **more)]
        return [*net.sum_of(main, skip), *net.prelu(outputs)]

    def decode(planes: int, outputs: int, pool: TorchObject | None = None) -> list[TorchObject]:
        inner = outputs // 4
        middle = net.up_conv(inner, inner, 3, 1, 1) if pool else net.conv(inner, inner, 3, pad=1)
        main = [*net.conv(planes, inner, 1), *net.batch_relu(inner)]
        main += [*middle, *net.batch_relu(inner), *net.conv(inner, outputs, 1)]
        skip = net.unchanged()
        if pool:
            skip = [*net.conv(planes, outputs, 1), *net.batch(outputs), net.unpooling(pool)]
        return [*net.sum_of([*main, *net.batch(outputs)], skip), net.relu(True)]

    def plain(planes: int) -> list[TorchObject]:
        return net.conv(planes, planes, 3, pad=1)

    def long(planes: int) -> list[TorchObject]:
        first = net.conv(planes, planes, (1, 5), pad=(0, 2))
        return [*first, *net.conv(planes, planes, (5, 1), pad=(2, 0))]

    def wide(dilation: int) -> Callable[[int], list[TorchObject]]:
        return lambda planes: net.dilated(planes, dilation)

    layers = [*net.joined(net.conv(3, 13, 3, 2, 1), pooling()), *styled(16)]
    layers += encode(16, 64, plain, halve=True)
    for _ in range(4):
        layers += encode(64, 64, plain)
    layers += encode(64, 128, plain, halve=True)
    for _ in range(2):
        for middle in (plain, wide(2), long, wide(4), plain, wide(8), long, wide(16)):
            layers += encode(128, 128, middle)
    layers += [*decode(128, 64, pools[2]), *decode(64, 64), *decode(64, 64)]
    layers += [*decode(64, 16, pools[1]), *decode(16, 16)]
    return [*layers, *net.up_conv(16, 19, 2)]


def resnet_50(net: Layers) -> list[TorchObject]:
    """K. He et al., CVPR 2016, with the stride where fb.resnet.torch has it: in the 3×3."""

    def block(planes: int, inner: int, stride: int) -> list[TorchObject]:
        main = [*net.conv(planes, inner, 1), *net.batch_relu(inner)]
        main += [*net.conv(inner, inner, 3, stride, 1), *net.batch_relu(inner)]
        main += [*net.conv(inner, 4 * inner, 1), *net.batch(4 * inner)]
        skip = net.unchanged()
        if planes != 4 * inner:
            skip = [*net.conv(planes, 4 * inner, 1, stride), *net.batch(4 * inner)]
        return [*net.sum_of(main, skip), net.relu(True)]

    layers = [*net.conv(3, 64, 7, 2, 3), *net.batch_relu(64), *net.pool(3, 2, 1)]
    planes = 64
    for stage, count in enumerate((3, 4, 6, 3)):
        inner = 64 * 2**stage
        for number in range(count):
            layers += block(planes, inner, 2 if stage and not number else 1)
            planes = 4 * inner
    return [*layers, net.average_pooling(7), *net.flatten(2048), *net.linear(2048, 1000)]


def densenet_121(net: Layers) -> list[TorchObject]:
    """G. Huang et al., CVPR 2017: growth 32, with bottlenecks and compression."""

    def dense(planes: int) -> list[TorchObject]:
        new = [*net.batch_relu(planes), *net.conv(planes, 128, 1)]
        new += [*net.batch_relu(128), *net.conv(128, 32, 3, pad=1)]
        return net.joined(net.unchanged(), new)

    layers = [*net.conv(3, 64, 7, 2, 3), *net.batch_relu(64), *net.pool(3, 2, 1)]
    planes = 64
    for stage, count in enumerate((6, 12, 24, 16)):
        for _ in range(count):
            layers += dense(planes)
            planes += 32
        layers += net.batch_relu(planes)
        if stage < 3:
            layers += [*net.conv(planes, planes // 2, 1), net.average_pooling(2)]
            planes //= 2
    return [*layers, net.average_pooling(7), *net.flatten(planes), *net.linear(planes, 1000)]


def pix2pix(net: Layers) -> list[TorchObject]:
    """P. Isola et al., CVPR 2017: the U-Net of eight halvings, its normalisations evaluated."""
    widths = [64 * min(2**level, 8) for level in range(8)]

    def inside(level: int) -> list[TorchObject]:
        """From the output of halving `level`, as many planes and the input's: the skip."""
        planes, deeper = widths[level], widths[level + 1]
        last = level + 2 == len(widths)
        down = [*net.leaky(), *net.conv(planes, deeper, 4, 2, 1)]
        if not last:
            down += [*net.batch(deeper), *inside(level + 1)]
        up = net.up_conv(deeper if last else 2 * deeper, planes, 4, 1)
        return net.joined([*down, net.relu(False), *up, *net.batch(planes)], net.unchanged())

    layers = [*net.conv(3, 64, 4, 2, 1), *inside(0)]
    return [*layers, net.relu(False), *net.up_conv(128, 3, 4, 1), *net.tanh()]


def vgg_16(net: Layers) -> list[TorchObject]:
    """K. Simonyan and A. Zisserman, ICLR 2015."""
    layers: list[TorchObject] = []
    planes = 3
    for outputs, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += net.relu_conv(planes, outputs, 3, 1)
            planes = outputs
        layers += net.pool(2, 2)
    layers += [*net.flatten(25088), *net.linear(25088, 4096), net.relu(True)]
    layers += [*net.linear(4096, 4096), net.relu(True), *net.linear(4096, 1000)]
    return [*layers, net.module("nn.SoftMax")]


def hourglass_8(net: Layers) -> list[TorchObject]:
    """A. Newell et al., ECCV 2016: eight stacks of 256 planes; the last one's heat maps."""

    def block(planes: int, outputs: int) -> list[TorchObject]:
        half = outputs // 2
        main = [*net.batch_relu(planes), *net.conv(planes, half, 1)]
        main += [*net.batch_relu(half), *net.conv(half, half, 3, pad=1)]
        main += [*net.batch_relu(half), *net.conv(half, outputs, 1)]
        skip = net.unchanged() if planes == outputs else net.conv(planes, outputs, 1)
        return net.sum_of(main, skip)

    def hourglass(level: int) -> list[TorchObject]:
        inner = hourglass(level - 1) if level > 1 else block(256, 256)
        lower = [*net.pool(2, 2), *block(256, 256), *inner, *block(256, 256), net.upsampling()]
        return net.sum_of(block(256, 256), lower)

    def features() -> list[TorchObject]:
        return [*hourglass(4), *block(256, 256), *net.conv(256, 256, 1), *net.batch_relu(256)]

    layers = [*net.conv(3, 64, 7, 2, 3), *net.batch_relu(64), *block(64, 128), *net.pool(2, 2)]
    layers += [*block(128, 128), *block(128, 256)]
    for _ in range(7):
        maps = [*net.conv(256, 16, 1), *net.conv(16, 256, 1)]
        back = net.sum_of(net.conv(256, 256, 1), maps)
        layers += net.sum_of([*features(), *back], net.unchanged())
    return [*layers, *features(), *net.conv(256, 16, 1)]


def language_model(net: Layers) -> list[TorchObject]:
    """J. Johnson's torch-rnn: 100 characters, and two LSTMs of 512."""
    words = net.module("nn.LookupTable", weight=net.uniform(-1, 1, 100, 64), paddingValue=0)
    steps = net.sequential(*net.linear(512, 100), net.module("nn.LogSoftMax"))
    every_step = net.complete(container("nn.Bottle", steps, nInputDim=2, dimDelta=0))
    layers = (net.lstm(64, 512, batch_first=True), net.lstm(512, 512, batch_first=True))
    return [words, *layers, every_step]


def waifu2x_vgg_7(net: Layers) -> list[TorchObject]:
    """nagadomi's waifu2x: seven convolutions without padding, for three channels."""
    layers: list[TorchObject] = []
    planes = 3
    for outputs in (32, 32, 64, 64, 128, 128):
        layers += [*net.conv(planes, outputs, 3), *net.leaky(0.1, inplace=True)]
        planes = outputs
    return [*layers, *net.conv(planes, 3, 3)]


def edsr(net: Layers) -> list[TorchObject]:
    """B. Lim et al., CVPR workshops 2017: 32 blocks of 256 planes, twice as large, for 0…255."""
    mean = 255 * np.array([0.4488, 0.4371, 0.4040], np.float32)
    unit = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)

    def block() -> list[TorchObject]:
        inside = [*net.relu_conv(256, 256, 3, 1), *net.conv(256, 256, 3, pad=1)]
        scaled = net.module("nn.MulConstant", constant_scalar=0.1, inplace=True)
        return net.sum_of([*inside, scaled], net.unchanged())

    body = [layer for _ in range(32) for layer in block()]
    layers = [net.complete(convolution(unit, -mean)), *net.conv(3, 256, 3, pad=1)]
    layers += net.sum_of([*body, *net.conv(256, 256, 3, pad=1)], net.unchanged())
    layers += [*net.conv(256, 1024, 3, pad=1), *net.pixel_shuffle(), *net.conv(256, 3, 3, pad=1)]
    return [*layers, net.complete(convolution(unit, mean))]


def wct_decoder(net: Layers) -> list[TorchObject]:
    """Y. Li et al., NeurIPS 2017: from VGG-19's relu5_1 back to a picture."""
    layers: list[TorchObject] = []
    planes = 512
    stages = ((512,), (512, 512, 512, 256), (256, 256, 256, 128), (128, 64), (64, 3))
    for number, stage in enumerate(stages):
        for outputs in stage:
            layers += [net.padding("Reflection", 1), *net.relu_conv(planes, outputs, 3, 0)]
            planes = outputs
        if number < len(stages) - 1:
            layers.append(net.upsampling())
    return layers[:-1]


def gan_3d(net: Layers) -> list[TorchObject]:
    """J. Wu et al., NeurIPS 2016: the generator, from 200 numbers to a volume of 64³."""

    def up(planes: int, outputs: int, stride: int, pad: int) -> list[TorchObject]:
        sizes = {
            f"{name}{axis}": size
            for axis in "TWH"
            for name, size in (("k", 4), ("d", stride), ("pad", pad), ("adj", 0))
        }
        bound = math.sqrt(6 * stride**3 / (planes * 4**3))
        return [
            net.module(
                "nn.VolumetricFullConvolution",
                nInputPlane=planes,
                nOutputPlane=outputs,
                **sizes,
                weight=net.uniform(-bound, bound, planes, outputs, 4, 4, 4),
                bias=net.uniform(-0.1, 0.1, outputs),
            )
        ]

    def batch_relu(planes: int) -> list[TorchObject]:
        (layer, activation) = net.batch_relu(planes)
        layer.typename = "nn.VolumetricBatchNormalization"
        return [layer, activation]

    layers = [*up(200, 512, 1, 0), *batch_relu(512)]
    for planes in (512, 256, 128):
        layers += [*up(planes, planes // 2, 2, 1), *batch_relu(planes // 2)]
    return [*layers, *up(64, 1, 2, 1), net.module("nn.Sigmoid")]


Definition = Callable[[Layers], list[TorchObject]]


def write(definition: Definition, path: Path) -> None:
    """The net of a definition in a file, the same at every call."""
    net = Layers(1)
    write_t7(path, net.sequential(*definition(net)))
