"""The page of a fit has what callbacks are told, and a browser shows it."""

from __future__ import annotations

import io
import shutil
import sys
import threading

import numpy as np
import pytest

from dask_lasso import AsyncLassoRegressor, LiveView

pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9 has no callbacks")
pytest.importorskip("bokeh", reason="the page is Bokeh's")

rng = np.random.default_rng(0)
X = rng.normal(size=(400, 6))
y = X[:, 0] + 0.1 * rng.normal(size=400)

BROWSER = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
    --disable-background-networking --disable-component-update --window-size=800,700"""
# Where the points of a plot are on the page, of estimates as the page knows them.
PLACES = """
    const document = Bokeh.documents[0], data = document.get_model_by_name("fit").data
    const views = Object.values(Bokeh.index)[0].child_views.filter(view => view.frame)
    return ["objective", "gap"].map((name, i) => {
        const {frame, el} = views[i], {x, y} = el.getBoundingClientRect()
        return Array.from(data[name], (value, j) => [
            x + frame.x_scale.compute(data.time[j]), y + frame.y_scale.compute(value)])
    })"""
SAID = "return Bokeh.documents[0]?.get_model_by_name('said')?.text ?? ''"
BLUE = np.array([0x1F, 0x77, 0xB4]) / 255


@pytest.fixture
def browser(tmp_path):
    """A headless Chromium that knows nothing from before."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="it drives the browser")
    program, driver = map(shutil.which, ("chromium", "chromedriver"))
    if program is None or driver is None:
        pytest.skip("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in [*BROWSER.split(), f"--user-data-dir={tmp_path}"]:
        options.add_argument(argument)
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as chromium:
        yield chromium


class Pauses:
    """The engine "async", which waits after the first estimate."""

    def __init__(self):
        self.go_on = threading.Event()

    def run(self, run):
        for result in run.completed():
            run.absorb(result)
            if run.update():
                return
            run.submit(run.idle(run.free_slots))
            assert self.go_on.wait(60)


@pytest.mark.slow
def test_a_browser_shows_objective_and_gap_while_the_fit_goes_on(browser):
    image = pytest.importorskip("matplotlib.image")
    wait = pytest.importorskip("selenium.webdriver.support.wait").WebDriverWait(browser, 60, 0.05)
    engine = Pauses()
    model = AsyncLassoRegressor(0.1, n_blocks=8, polish=False, engine=engine)
    with LiveView() as view:
        browser.get(view.url)
        wait.until(lambda it: it.execute_script(SAID) == "Waiting for an estimate.")
        fit = threading.Thread(target=model.set_callbacks(view).fit, args=(X, y))
        fit.start()
        wait.until(lambda it: "estimate 1," in it.execute_script(SAID))
        assert fit.is_alive()
        engine.go_on.set()
        fit.join()
        n = len(model.history_["time"])
        wait.until(lambda it: f"estimate {n}," in it.execute_script(SAID))
        wait.until(lambda it: _are_painted(it, image, n))
        assert "400 rows read" in browser.execute_script(SAID)
        failed = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert failed == []


def _are_painted(browser, image, n):
    """Whether every estimate is a blue point in both plots."""
    places = np.array(browser.execute_script(PLACES))
    assert places.shape == (2, n, 2)
    picture = image.imread(io.BytesIO(browser.get_screenshot_as_png()))[..., :3]
    x, y = places.round().astype(int).T
    # Both fall, on a picture from top to bottom, and none is above another.
    is_spread = np.ptp(places, axis=1).min() > 50
    return is_spread and (np.abs(picture[y, x] - BLUE) < 0.02).all()


def test_the_columns_are_those_of_the_history():
    with LiveView() as view:
        model = AsyncLassoRegressor(0.1, n_blocks=4, engine="async").set_callbacks(view).fit(X, y)
        np.testing.assert_array_equal(view._columns["objective"], model.history_["objective"])
        assert view._columns["rows"][-1] == 400
        assert view.url.startswith("http://localhost:")
    view.close()  # twice does no harm


def test_a_port_that_is_taken():
    with LiveView() as view:
        port = int(view.url.rsplit(":", 1)[1])
        with pytest.raises(RuntimeError, match=f"port {port}: pass one that is free"):
            LiveView(port)


@pytest.mark.parametrize("port", [-1, 70000, "free"])
def test_a_port_that_is_none(port):
    with pytest.raises((ValueError, TypeError), match=r"^port "):
        LiveView(port)


def test_without_bokeh(monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh.server.server", None)
    with pytest.raises(ImportError, match="LiveView needs Bokeh"):
        LiveView()
