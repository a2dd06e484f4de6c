"""texture_nets' generators, as its Lua files build them, so that a port of one is a port as any.

Source: texture_nets models/johnson.lua, pyramid.lua and skip_unpool.lua; src/utils.lua.
All take RGB in 0…1 (N×3×H×W) and return BGR in 0…255 less Caffe's mean. In texture mode their input
is filled with noise and every border is circular.
"""

from __future__ import annotations

from collections.abc import Callable

from porter.apps.train.options import Architecture
from porter.errors import UsageError
from porter.system.suggestions import did_you_mean
from porter.torch7 import TorchObject
from porter.torch7.build import Modules

Parts = list[TorchObject]


def generator(architecture: Architecture, seed: int) -> TorchObject:
    """A new generator with Torch's initial weights. Raises UsageError for an unknown name."""
    if architecture.name not in GENERATORS:
        raise UsageError(
            f"there is no generator '{architecture.name}'"
            + did_you_mean([architecture.name], GENERATORS),
            hint=f"generators: {', '.join(GENERATORS)}; or a .t7 file",
        )
    return GENERATORS[architecture.name](GeneratorModules(architecture, seed))


class GeneratorModules(Modules):
    """Modules in one architecture's manner."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        super().__init__(seed)
        self.architecture = architecture
        self.is_texture = architecture.mode == "texture"

    def planes(self, count: int) -> int:
        """How many planes the slim net has where the full one has `count`."""
        return max(1, count // self.architecture.slim)

    def pad(self, amount: int) -> TorchObject:
        """The border of the mode."""
        return self.padding("Circular" if self.is_texture else "Replication", amount)

    def norm(self, planes: int) -> TorchObject:
        """The normalisation that was asked for."""
        return self.normalization(self.architecture.normalization, planes)

    def noise(self) -> Parts:
        """In texture mode all three planes become uniform noise."""
        if not self.is_texture:
            return []
        return [self.module("nn.NoiseFill", num_noise_channels=3, mult=1)]

    def same(self, planes: int, outputs: int, kernel: int) -> TorchObject:
        """`conv` of src/utils.lua: a convolution that keeps the size."""
        convolution = self.convolution(planes, outputs, kernel)
        if kernel == 1:
            return convolution
        return self.sequential(self.pad(kernel // 2), convolution)

    def tv(self) -> TorchObject:
        """The loss that ends every generator."""
        return self.tv_loss(self.architecture.tv_weight)


def johnson(b: GeneratorModules) -> TorchObject:
    """Johnson et al. 2016: down four times, five residual blocks, up again. Sizes: any."""
    few, some, many = (b.planes(count) for count in (32, 64, 128))

    def convolved(planes: int, outputs: int, kernel: int, stride: int) -> Parts:
        return [b.pad(kernel // 2), b.convolution(planes, outputs, kernel, stride), b.norm(outputs)]

    def residual() -> TorchObject:
        inner = [*convolved(many, many, 3, 1), b.relu(inplace=True), *convolved(many, many, 3, 1)]
        return b.sequential(*b.add(b.module("nn.Identity"), b.sequential(*inner)))

    def doubled(planes: int, outputs: int) -> Parts:
        full = b.full_convolution(planes, outputs)
        if not b.is_texture:
            return [full]
        # Around the image as everywhere: what the wider border makes too much is cut off again.
        # johnson.lua leaves zeros there, which show as a seam.
        return [b.pad(1), full, b.padding("Zero", -2)]

    return b.sequential(
        *b.noise(),
        *convolved(3, few, 9, 1),
        b.relu(inplace=True),
        *convolved(few, some, 3, 2),
        b.relu(inplace=True),
        *convolved(some, many, 3, 2),
        b.relu(inplace=True),
        *(residual() for _ in range(5)),
        *doubled(many, some),
        b.norm(some),
        b.relu(inplace=True),
        *doubled(some, few),
        b.norm(few),
        b.relu(inplace=True),
        b.pad(1),
        b.convolution(few, 3, 3),
        b.tv(),
    )


RATIOS = (32, 16, 8, 4, 2, 1)
"""By how much the branches of the pyramid shrink its input."""


def pyramid(b: GeneratorModules) -> TorchObject:
    """Ulyanov et al. 2016: six scales, joined from the coarsest up. Sizes: multiples of 32."""
    each = b.planes(8)

    def block(planes: int, outputs: int) -> Parts:
        parts: Parts = []
        for kernel in (3, 3, 1):
            # nn.ReLU(nil, true), as the file has it, is not in place.
            parts += [b.same(planes, outputs, kernel), b.norm(outputs), b.relu(inplace=False)]
            planes = outputs
        return parts

    joined: Parts = []
    for number, ratio in enumerate(RATIOS, start=1):
        branch = [b.average_pooling(ratio), *b.noise(), *block(3, each)]
        total = each * number
        if number == 1:
            joined = branch
        else:
            coarser = b.sequential(*joined, b.norm(total - each))
            finer = b.sequential(*branch, b.norm(each))
            joined = [b.concat(coarser, finer), *block(total, total)]
        if ratio > 1:
            joined.append(b.upsampling())
    return b.sequential(*joined, b.same(each * len(RATIOS), 3, 1), b.tv())


def skip_unpool(b: GeneratorModules) -> TorchObject:
    """An encoder and decoder that unpools where it pooled, with skips, added to its input.

    Sizes: any in style mode; textures are seamless for multiples of 16.
    """
    deep = [b.planes(count) for count in (16, 32, 64, 128)]
    thin = b.planes(4)

    def activated(planes: int, outputs: int, kernel: int) -> Parts:
        return [b.same(planes, outputs, kernel), b.norm(outputs), b.leaky_relu()]

    def level(number: int) -> Parts:
        planes, outputs = ([3, *deep])[number], deep[number]
        pooling = b.max_pooling(2)
        skip = [*activated(planes, thin, 1), b.norm(thin)]
        deeper = [*activated(planes, outputs, 3), pooling, *activated(outputs, outputs, 3)]
        if number + 1 < len(deep):
            deeper.append(b.sequential(*level(number + 1)))
            deeper += [b.same(deep[number + 1], outputs, 3), b.norm(outputs)]
        deeper += [b.unpooling(pooling), b.norm(outputs)]
        return [
            b.concat(b.sequential(*skip), b.sequential(*deeper)),
            *activated(thin + outputs, outputs, 3),
            *activated(outputs, outputs, 3),
            *activated(outputs, outputs, 1),
        ]

    inner = b.sequential(*level(0), b.convolution(deep[0], 3, 1))
    return b.sequential(*b.noise(), *b.add(b.module("nn.Identity"), inner), b.tv())


GENERATORS: dict[str, Callable[[GeneratorModules], TorchObject]] = {
    "johnson": johnson,
    "pyramid": pyramid,
    "skip_unpool": skip_unpool,
}
"""By the name of the Lua file."""
