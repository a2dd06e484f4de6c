"""The page of `--format web`: what lies in its folder, and what a browser makes of it."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from porter.conversion.pipeline import Conversion, convert
from porter.conversion.request import Request
from porter.emit import web
from porter.emit.settings import ExportOptions
from porter.errors import EmitError, UsageError
from porter.imaging import geometry
from porter.imaging.image_spec import ImageSpec
from porter.imaging.pixels import probabilities, to_images, to_net
from porter.ir.fields import Array
from porter.torch7 import TorchObject
from tests.build import classifier, conv, linear, relu, run, sequential, torch_module
from tests.imaging.nets import OILPAINT, full_conv, meaning_for, opened, skipping, waifu2x
from tests.write_t7 import write_t7

interpreter = pytest.importorskip("ai_edge_litert.interpreter")

HALVED = sequential(conv(3, 4, pad=1, stride=2, seed=2), relu(), full_conv(4, 3, pad=1))
"""A net that rounds odd sizes up to even ones."""


def page_of(
    root: TorchObject, folder: Path, preset: str | None = None, **options: Any
) -> Conversion:
    source = write_t7(folder / "net.t7", root)
    return convert(Request(source, folder / "port", formats=("web",), preset=preset, **options))


def port_json(done: Conversion) -> Any:
    return json.loads((done.output / "web" / "port.json").read_text(encoding="utf-8"))


# The folder ---------------------------------------------------------------------------------------


def test_the_folder_has_all_that_the_page_reads(tmp_path: Path) -> None:
    done = page_of(HALVED, tmp_path, "plain")
    folder = done.output / "web"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"index.html", "port.json", "model.tflite", "litert/core.js"} <= files
    page = (folder / "index.html").read_text(encoding="utf-8")
    read = re.findall(r"[\"(`]\.?/?((?:litert|example)/[\w.]+|\w+\.(?:json|tflite))[\"`]", page)
    assert len(read) > 4
    assert set(read) <= files
    assert not re.search(r"https?://(?!localhost)", page)
    (row,) = done.emitted
    assert row.measure is not None
    assert row.measure.max_rel < 1e-5
    assert row.note == "image: all levels equal"
    assert f"http.server -d {folder}" in done.summary()


def test_a_size_that_is_written_into_the_file_is_the_net_s(tmp_path: Path) -> None:
    """What the page does, for LiteRT in Python: its tensors then have these sizes and no other."""
    done = page_of(HALVED, tmp_path, "plain")
    content = bytearray((done.output / "web" / "model.tflite").read_bytes())
    described = port_json(done)["tensors"]
    for side, sizes in (("inputs", (1, 30, 41, 3)), ("outputs", (1, 30, 42, 3))):
        for place in described[side][0]["places"]:
            content[place : place + 16] = np.array(sizes, "<i4").tobytes()
    runner = interpreter.Interpreter(model_content=bytes(content))
    runner.allocate_tensors()
    (takes,), (makes,) = runner.get_input_details(), runner.get_output_details()
    assert takes["shape_signature"].tolist() == [1, 30, 41, 3]
    assert makes["shape_signature"].tolist() == [1, 30, 42, 3]
    x = np.random.default_rng(0).random((1, 30, 41, 3), np.float32)
    runner.set_tensor(takes["index"], x)
    runner.invoke()
    expected = run(HALVED, x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(runner.get_tensor(makes["index"]), expected, atol=1e-5)


@pytest.mark.parametrize("root", [HALVED, skipping(), waifu2x()], ids=["halved", "skip", "waifu2x"])
def test_the_output_s_size_is_known_for_every_photo(tmp_path: Path, root: TorchObject) -> None:
    file = opened(root, tmp_path)
    spec, model = meaning_for(file, "plain"), file.model()
    assert spec is not None
    table = web.extents(model, spec)
    assert table is not None
    step, period = table["step"], table["step"] * len(table["rows"])
    for size in range(40 * step, 500, 37 * step):
        beyond = (size - table["first"]) % period
        rows = table["rows"][beyond // step]
        rows += spec.geometry.scale * (size - table["first"] - beyond)
        picture = geometry.output_image(model.walk(geometry.image(3, size, size)))
        assert picture is not None
        assert picture.type.static[2] == rows


def test_a_net_of_which_the_size_is_not_known_is_written_for_one(tmp_path: Path) -> None:
    thirds = sequential(conv(3, 3, 5, stride=5, seed=3))
    with pytest.raises(EmitError, match="size of the net's pictures") as caught:
        page_of(thirds, tmp_path, "plain")
    assert "input_shapes" in str(caught.value.hint)
    assert not (tmp_path / "port").exists()
    done = page_of(thirds, tmp_path, "plain", input_shapes=((3, 40, 45),))
    assert port_json(done)["tensors"]["outputs"][0]["shape"] == [1, 8, 9, 3]


def test_what_the_page_cannot_feed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="N×H×W×C"):
        page_of(HALVED, tmp_path, "plain", export=ExportOptions("channels_first"))
    assert [path.name for path in tmp_path.iterdir()] == ["net.t7"]


def test_a_damaged_runtime_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "CHECKSUM", "0" * 64)
    with pytest.raises(EmitError, match="is damaged"):
        web.unpack(tmp_path / "litert")
    assert not (tmp_path / "litert").exists()


# In a browser -------------------------------------------------------------------------------------


@dataclass
class Opened:
    """A page with the messages that it wrote to the console and the addresses that it asked for."""

    page: Any
    errors: list[str]
    addresses: list[str]

    def status(self) -> str:
        """What the page says once it is ready, or has done what it was asked for."""
        self.page.wait_for_selector("body[data-ready]:not(.busy)", timeout=300_000)
        return str(self.page.inner_text("#status"))

    def result_of(self, photo: Path) -> Array:
        """The picture that it makes of a photo, as it saves it."""
        self.choose(photo)
        with self.page.expect_download() as download:
            self.page.click("#save", timeout=300_000)
        assert download.value.suggested_filename == f"{photo.stem}.ported.png"
        return np.asarray(Image.open(download.value.path()).convert("RGB"))

    def choose(self, photo: Path) -> None:
        self.status()
        self.page.set_input_files("#file", photo)
        self.page.wait_for_selector("#result:not(:empty)", state="attached")
        assert "Checked" in self.status()


def chromium() -> str | None:
    """The browser that is installed; Playwright's own is looked for by Playwright."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium with a camera that shows a test picture."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(
                executable_path=chromium(), args=["--no-sandbox", *camera, *WEBGPU]
            )
        except playwright.Error as error:
            pytest.skip(f"no Chromium is installed: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
"""A stand-in for a graphics card, where this Chromium has one."""

Open = Callable[[Path], Opened]


@pytest.fixture
def show(browser: Any) -> Iterator[Open]:
    """Opens a folder of a port as a static server shows it; its console must have no errors."""
    cleanups: list[Callable[[], None]] = []
    shown: list[Opened] = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

    def show_folder(folder: Path) -> Opened:
        handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        page = browser.new_page()
        cleanups.extend([page.close, server.shutdown, thread.join, server.server_close])
        opened = Opened(page, [], [])
        page.on("console", lambda m: m.type == "error" and opened.errors.append(m.text))
        page.on("pageerror", lambda error: opened.errors.append(str(error)))
        page.on("request", lambda request: opened.addresses.append(request.url))
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        shown.append(opened)
        return opened

    yield show_folder
    for clean in cleanups:
        clean()
    for each in shown:
        assert each.errors == []
        assert all(re.match(r"http://127\.0\.0\.1:|data:|blob:", url) for url in each.addresses)


def noise(folder: Path, height: int, width: int) -> Path:
    pixels = np.random.default_rng(4).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f"{width}.png")
    return folder / f"{width}.png"


def test_torch_s_own_pictures_come_out(show: Open, tmp_path: Path) -> None:
    model = OILPAINT / "model.t7"
    done = convert(Request(model, tmp_path / "port", formats=("web",)))
    opened = show(done.output / "web")
    for name, shown in (("chelsea", "451×300"), ("coffee", "500×375"), ("astronaut", "512×512")):
        computed = opened.result_of(OILPAINT / f"{name}.png")
        expected = np.asarray(Image.open(OILPAINT / f"{name}.torch.png"))
        assert computed.shape == expected.shape
        apart = np.abs(computed.astype(int) - expected)
        assert np.count_nonzero(apart > 1) <= 1e-3 * apart.size
        assert np.count_nonzero(apart) <= 1e-3 * apart.size
        assert opened.page.inner_text("#about") == f"{name}.png: {shown}"
        assert re.search(r"; \d+\.\d\d s, WebAssembly$", opened.page.inner_text("#result"))


def by_numpy(root: TorchObject, folder: Path, preset: str, photo: Path) -> tuple[Array, ImageSpec]:
    """A photo through NumPy's reference and arithmetic: the numbers, and what they mean."""
    spec = meaning_for(opened(root, folder), preset)
    assert spec is not None
    fed = to_net(np.asarray(Image.open(photo))[None], spec)
    output = run(root, fed.transpose(0, 3, 1, 2))
    return (output.transpose(0, 2, 3, 1) if output.ndim == 4 else output), spec


MEDIAN = """median_filter = 3
[input]
channels = "BGR"
range = [-1, 1]
mean = [0.1, 0.2, 0.3]
std = [0.5]
[output]
channels = "BGR"
range = [-1, 1]
mean = [0.1, -0.1, 0.2]
std = [2]
"""
GREY = '[input]\nchannels = "grey"\nmean = 0.4\nstd = 0.2\n[output]\nchannels = "grey"\n'


@pytest.mark.parametrize(
    ("root", "preset"),
    [
        (waifu2x(), "waifu2x-rgb"),
        (skipping(), "plain"),
        (sequential(conv(1, 1, 3, seed=5)), "waifu2x-y"),
        (sequential(conv(3, 3, 3, pad=1, seed=6)), MEDIAN),
        (sequential(conv(1, 1, 3, pad=1, seed=7)), GREY),
    ],
    ids=["flat", "multiples", "luminance", "median", "grey"],
)
def test_every_kind_of_preset_is_the_arithmetic_of_numpy(
    show: Open, tmp_path: Path, root: TorchObject, preset: str
) -> None:
    if "\n" in preset:
        (tmp_path / "mine.toml").write_text(preset)
        preset = str(tmp_path / "mine.toml")
    photo = noise(tmp_path, 45, 38)
    computed = show(page_of(root, tmp_path, preset).output / "web").result_of(photo)
    numbers, spec = by_numpy(root, tmp_path, preset, photo)
    (expected,) = to_images(numbers, np.asarray(Image.open(photo))[None], spec)
    assert computed.shape == expected.shape
    apart = np.abs(computed.astype(int) - expected)
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 1e-3 * apart.size
    assert len(np.unique(expected)) > 50


def test_a_classifier_shows_the_five_best(show: Open, tmp_path: Path) -> None:
    names = ["ant", "bee", "<b>cow</b>", "dog", "eel"]
    (tmp_path / "mine.toml").write_text(f"labels = {json.dumps(names)}\n[input]\nstd = 20\n")
    preset = str(tmp_path / "mine.toml")
    opened = show(page_of(classifier(), tmp_path, preset).output / "web")
    photo = noise(tmp_path, 8, 8)
    opened.choose(photo)
    numbers, spec = by_numpy(classifier(), tmp_path, preset, photo)
    (chances,) = probabilities(numbers, spec)
    lines = opened.page.inner_text("#classes").split("\n")
    shown = [line.strip() for line in lines if line.strip()]
    best = np.argsort(-chances)
    assert shown == [f"{100 * chances[i]:.1f} %  {names[i]}".replace("  ", " ") for i in best]
    opened.choose(noise(tmp_path, 20, 40))
    about = "40.png: 40×20, cut to the net's proportions; the net is fed 8×8"
    assert opened.page.inner_text("#about") == about


def test_other_nets_take_and_give_numbers(show: Open, tmp_path: Path) -> None:
    net = sequential(linear(6, 3, seed=8), torch_module("nn.Tanh"))
    done = page_of(net, tmp_path)
    (tensor,) = port_json(done)["tensors"]["inputs"]
    opened = show(done.output / "web")
    assert "of the output's scale" in opened.status()
    x = np.random.default_rng(77).standard_normal(tensor["shape"])
    np.save(tmp_path / "x.npy", x)
    opened.page.set_input_files("#inputs input", tmp_path / "x.npy")
    opened.page.wait_for_timeout(500)
    opened.status()
    with opened.page.expect_download() as download:
        opened.page.click("#outputs a")
    computed = np.load(download.value.path())
    np.testing.assert_allclose(computed, run(net, x.astype(np.float32)), atol=1e-6)
    np.save(tmp_path / "short.npy", x[..., :2])
    opened.page.set_input_files("#inputs input", tmp_path / "short.npy")
    opened.page.wait_for_selector("#status.bad")
    assert "and this file" in opened.status()


def test_indices_are_fed_in_32_bits(show: Open, tmp_path: Path) -> None:
    table = torch_module("nn.LookupTable", weight=np.eye(5, 4, dtype=np.float32))
    done = page_of(sequential(table, linear(4, 2)), tmp_path)
    (tensor,) = port_json(done)["tensors"]["inputs"]
    assert tensor["dtype"] == "int32"
    assert "Checked" in show(done.output / "web").status()


def test_the_camera_s_picture_is_run(show: Open, tmp_path: Path) -> None:
    opened = show(page_of(HALVED, tmp_path, "plain").output / "web")
    opened.status()
    opened.page.click("#camera")
    opened.page.wait_for_selector("#camera:text('Take the picture')")
    opened.status()
    opened.page.click("#camera")
    opened.page.wait_for_selector("#save", timeout=60_000)
    assert "camera.png" in opened.page.inner_text("#about")


def test_webgpu_is_used_for_one_size_where_there_is_one(show: Open, tmp_path: Path) -> None:
    done = page_of(HALVED, tmp_path, "plain", input_shapes=((3, 24, 32),))
    opened = show(done.output / "web")
    adapter = "async () => Boolean(await navigator.gpu?.requestAdapter())"
    used = "WebGPU" if opened.page.evaluate(adapter) else "WebAssembly"
    assert f"({used})" in opened.status()
    opened.choose(noise(tmp_path, 24, 32))
    assert opened.page.inner_text("#result").endswith(used)


def test_a_browser_that_computes_something_else_says_so(show: Open, tmp_path: Path) -> None:
    folder = page_of(HALVED, tmp_path, "plain").output / "web"
    example = folder / "example" / "output_1.npy"
    np.save(example, np.load(example) ^ 128)
    opened = show(folder)
    assert "computes something else than the oracle" in opened.status()
    assert not opened.page.is_visible("#file")


def test_a_picture_that_is_too_small_is_a_sentence(show: Open, tmp_path: Path) -> None:
    opened = show(page_of(sequential(conv(3, 3, 9)), tmp_path, "plain").output / "web")
    opened.status()
    opened.page.set_input_files("#file", noise(tmp_path, 5, 20))
    opened.page.wait_for_selector("#status.bad")
    assert "at least 9×9" in opened.status()
