"""The digits example: pictures as digits, and the page between a person and ``serve-model``."""

import http.client
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image

from training import plan_training, read_job
from training.fitting import make_features
from training.trainer import fit_model

FOLDER = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="module", autouse=True)
def _on_the_path() -> Iterator[None]:
    """As Python does for a file that is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield


def write_png(array: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(content, "PNG")
    return content.getvalue()


def draw_one() -> Image.Image:
    """A thick stroke somewhere on a large black page."""
    page = Image.new("L", (400, 300))
    ImageDraw.Draw(page).line([(290, 60), (280, 200)], fill=255, width=26)
    return page


def test_a_picture_of_eight_pixels_is_taken_as_it_is() -> None:
    from digits import load_digits, read_picture

    for row in load_digits().iloc[:20, :64].to_numpy():
        levels = row.reshape(8, 8)
        assert (read_picture(write_png(np.rint(levels * 255 / 16))) == levels).all()


def test_ink_is_cut_out_and_fills_the_square_from_top_to_bottom() -> None:
    from digits import read_picture

    levels = read_picture(write_png(draw_one()))
    assert levels.shape == (8, 8)
    assert (levels.max(axis=1) > 8).all()
    assert levels[:, [0, 7]].max() == 0


def test_what_is_transparent_is_black_and_colors_are_grey() -> None:
    from digits import read_picture

    clear = np.zeros((8, 8, 4))
    clear[..., :3] = 255
    clear[3, 4] = [255, 255, 255, 255]
    assert read_picture(write_png(clear)).sum() == 16
    green = np.zeros((8, 8, 3))
    green[..., 1] = 255
    assert 8 < read_picture(write_png(green))[0, 0] < 11


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"hello", write_png(np.zeros((9, 9)))[:40]])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    from digits import read_picture

    with pytest.raises(ValueError, match="no picture that can be read"):
        read_picture(content)


def test_digits_are_told_apart_and_strangers_are_refused() -> None:
    """The benchmark says how often, over ten seeds."""
    from digits import read_picture

    plan = plan_training(read_job(FOLDER / "job.toml"))
    fitted = fit_model(plan, make_features(plan, plan.rows.iloc[plan.split.train]))
    assert fitted.guard is not None
    held = plan.rows.iloc[plan.split.evaluate]
    truth = plan.target.truth.iloc[plan.split.evaluate]
    assert (fitted.pipeline.predict(held) == truth).mean() > 0.94
    assert fitted.guard.guard.judge(held)[1].mean() < 0.09
    photo = load_sample_image("china.jpg")
    noise = np.random.default_rng(0).integers(0, 255, (8, 8))
    pages = [
        photo,
        photo[:64, :64],
        noise,
        np.zeros((50, 50)),
        255 - np.rint(held.iloc[0].to_numpy().reshape(8, 8) * 15),
    ]
    strange = np.array([read_picture(write_png(page)).ravel() for page in pages])
    _, refused = fitted.guard.guard.judge(
        held.head(len(pages)).assign(**dict(zip(held.columns, strange.T, strict=True)))
    )
    assert refused.all()


class Scorer(BaseHTTPRequestHandler):
    """Stands in for ``serve-model``: knows one digit, refuses an empty page, and dislikes one request."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (row,) = body["dataframe_records"]
        assert body["params"] == {"output": "full"}
        empty = sum(row.values()) == 0
        full: dict[str, Any] = {
            f"probability_{digit}": None if empty else float(digit == 1) for digit in range(10)
        }
        full |= {
            "answer": None if empty else 1,
            "nothing_found": empty,
            "typicality": 0.002 if empty else 0.7,
        }
        bad = row["pixel_0"] == 16
        content = json.dumps({"message": "too bright"} if bad else {"predictions": [full]}).encode()
        self.send_response(400 if bad else 200)
        self.send_header("X-Model-Version", "7")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@contextmanager
def serve(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def page() -> Iterator[int]:
    from page import PageServer

    with (
        serve(ThreadingHTTPServer(("127.0.0.1", 0), Scorer)) as scorer,
        serve(PageServer(0, f"http://127.0.0.1:{scorer}")) as port,
    ):
        yield port


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    line.request(method, path, body, headers)
    reply = line.getresponse()
    content = reply.read()
    line.close()
    return reply.status, content


def test_the_page_shows_the_picture_as_the_model_sees_it_and_the_answer(page: int) -> None:
    status, content = ask(page, "POST", "/picture", write_png(draw_one()))
    told = json.loads(content)
    assert (status, told["answer"], told["nothing_found"], told["version"]) == (200, 1, False, "7")
    assert np.array(told["pixels"]).shape == (8, 8)
    assert told["probabilities"]["1"] == 1.0
    status, content = ask(page, "POST", "/picture", write_png(np.zeros((40, 40))))
    assert (json.loads(content)["answer"], json.loads(content)["nothing_found"]) == (None, True)


def test_the_page_is_one_file_and_says_nothing_found_in_words(page: int) -> None:
    status, content = ask(page, "GET", "/")
    assert status == 200
    assert b"Nothing found" in content
    assert b"http://" not in content.replace(b"http://www.w3.org", b"")
    assert ask(page, "GET", "/other")[0] == 404


def test_what_goes_wrong_is_said(page: int) -> None:
    assert ask(page, "POST", "/picture", b"hello") == (
        400,
        b'{"message": "This is no picture that can be read."}',
    )
    status, content = ask(page, "POST", "/picture", write_png(np.full((8, 8), 255)))
    assert (status, json.loads(content)["message"]) == (400, "serve-model says: too bright")
    assert ask(page, "POST", "/elsewhere")[0] == 404
    assert ask(page, "POST", "/picture", b"", **{"Content-Length": "99999999"})[0] == 413


def test_only_this_machine_s_own_names_lead_to_the_page(page: int) -> None:
    """A web page elsewhere may point its own name here."""
    assert ask(page, "GET", "/", Host="evil.example")[0] == 403
    assert ask(page, "POST", "/picture", b"x", Host="evil.example:80")[0] == 403
    assert ask(page, "GET", "/", Host=f"localhost:{page}")[0] == 200


def test_a_scorer_that_is_away_is_said_to_be_away(free_port: int) -> None:
    from page import PageServer

    with serve(PageServer(0, f"http://127.0.0.1:{free_port}")) as port:
        status, content = ask(port, "POST", "/picture", write_png(draw_one()))
    assert (status, f"does not answer at http://127.0.0.1:{free_port}" in content.decode()) == (502, True)
