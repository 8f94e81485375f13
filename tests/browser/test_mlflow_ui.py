"""What people see of Greenroom in stock MLflow's UI."""

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.story import Story

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_the_model_page_shows_the_version_its_alias_and_its_stage(page: "Page", story: Story) -> None:
    page.goto(f"{story.uri}/#/models/{story.name}")
    row = page.get_by_role("row").filter(has_text=f"Version {story.version}")
    row.get_by_text(re.compile(r"^@\s*production$")).first.wait_for()
    row.get_by_text(re.compile("greenroom.stage")).wait_for()


def test_the_model_page_tells_who_is_in_production_and_leads_to_the_evidence(
    page: "Page", story: Story
) -> None:
    page.goto(f"{story.uri}/#/models/{story.name}")
    page.get_by_text("Is a tumour benign?").wait_for()
    page.get_by_text(re.compile(r"ada@lab.*first version")).wait_for()
    opened = follow(page, "evidence")
    opened.get_by_role("heading", name="evidence: version 1 to production").wait_for()
    assert opened.url.endswith(f"/#/experiments/{story.evidence_experiment}/runs/{story.evidence_run}")


def test_the_version_page_tells_how_it_was_trained_and_what_was_decided(page: "Page", story: Story) -> None:
    page.goto(f"{story.uri}/#/models/{story.name}/versions/{story.version}")
    page.get_by_text("This version is production.").wait_for()
    page.get_by_text(re.compile(r"ada@lab.*staging")).first.wait_for()
    opened = follow(page, f"run {story.run_id[:8]}")
    opened.get_by_text(story.run_id, exact=True).wait_for()
    assert opened.url.endswith(f"/#/experiments/{story.experiment_id}/runs/{story.run_id}")


def test_no_markdown_is_left_unrendered_in_a_description(page: "Page", story: Story) -> None:
    page.goto(f"{story.uri}/#/models/{story.name}/versions/{story.version}")
    page.get_by_text("This version is production.").wait_for()
    seen = page.get_by_test_id("note-view-outer-container").first.inner_text()
    assert "Trained by run" in seen
    assert not re.search(r"\*\*|\]\(|`|---", seen)


def test_the_history_link_leads_to_the_run_that_keeps_it(page: "Page", story: Story) -> None:
    page.goto(f"{story.uri}/#/models/{story.name}")
    opened = follow(page, "history")
    opened.get_by_text("Deleting this run deletes the history.").wait_for()
    opened.get_by_text("0001", exact=True).first.wait_for()


def test_the_run_page_shows_metrics_data_and_the_registered_version(page: "Page", story: Story) -> None:
    page.goto(f"{story.uri}/#/experiments/{story.experiment_id}/runs/{story.run_id}")
    page.get_by_role("link", name="roc_auc").first.wait_for()
    page.get_by_text("Finished").first.wait_for()
    page.get_by_text(re.compile(r"rows\.csv")).first.wait_for()
    page.get_by_role("link", name=story.name).first.wait_for()


@pytest.mark.parametrize("plot", ["roc_curve", "calibration", "confusion_matrix", "permutation_importance"])
def test_the_run_page_shows_its_plots(page: "Page", story: Story, plot: str) -> None:
    page.goto(
        f"{story.uri}/#/experiments/{story.experiment_id}/runs/{story.run_id}/artifacts/plots/{plot}.png"
    )
    picture = page.get_by_alt_text(f"plots/{plot}.png")
    picture.wait_for()
    width = picture.evaluate("node => node.decode().then(() => node.naturalWidth)")
    assert width > 200


def follow(page: "Page", link: str) -> "Page":
    """Clicks a description's link, which MLflow opens in a tab of its own."""
    with page.expect_popup() as popup:
        page.get_by_role("link", name=link, exact=True).first.click()
    return popup.value
