"""The playground: it shows what the service answers, and asks for what its controls say."""

import json
import subprocess
import sys
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.conftest import Running
from tests.console.conftest import Open, wait_until

ROW = [9, 1, 0, 2, 0, 8.5, 0, 1, 7, 0]
DIGITS = f"#/playground/digits/1?rows=[[{json.dumps(ROW)}]]"


def shown(page: Page) -> Any:
    """The service's answer, as the page has it."""
    page.get_by_role("button", name="Answer").click()
    return json.loads(page.locator("pre").inner_text())


def cell(page: Page, label: str) -> Any:
    """The answer in the line of a class."""
    return page.get_by_role("row", name=label).locator(".answer")


def test_the_answer_that_is_shown_is_the_services(visit: Open, served: Running) -> None:
    page = visit(DIGITS)
    expect(cell(page, "zero")).to_have_text("40.23 %")
    asked = {"logits": ROW, "outputs": ["probabilities", "prediction", "confidence", "entropy"], "alpha": 0.1}
    assert shown(page) == served.predict(asked, "digits").json()
    expect(page.locator(".figures")).to_contain_text("zero")
    expect(page.locator(".figures")).to_contain_text("62 % of ln 10")


@pytest.mark.parametrize("kind", ["curl", "Python", "pandas"])
def test_what_is_to_be_pasted_gives_the_answer_that_is_shown(visit: Open, kind: str) -> None:
    page = visit(DIGITS + "&masked=[3]")
    expect(cell(page, "three")).to_have_text("masked")
    answer = shown(page)
    page.get_by_role("button", name=kind).click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    program = page.evaluate("navigator.clipboard.readText()")
    assert program == page.locator("pre").inner_text()
    if kind == "Python":
        program = program.replace("print(answer.json())", "import json; print(json.dumps(answer.json()))")
    command = ["bash", "-c", program] if kind == "curl" else [sys.executable, "-c", program]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    if kind == "pandas":
        assert "zero" in printed
        assert "0.4" in printed
    else:
        assert json.loads(printed) == answer


def test_the_temperature_by_the_keyboard_switches_the_set_off_and_comes_back(visit: Open) -> None:
    page = visit(DIGITS)
    slider = page.get_by_role("slider", name="Temperature")
    expect(slider).to_have_attribute("aria-valuetext", "2.44, as fitted")
    expect(page.get_by_role("checkbox", name="Prediction set")).to_be_checked()
    slider.focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    expect(slider).not_to_have_attribute("aria-valuetext", "2.44, as fitted")
    expect(page.get_by_role("checkbox", name="Prediction set")).not_to_be_checked()
    expect(page.get_by_text("alpha holds at the head's own temperature")).to_be_visible()
    assert shown(page)["temperature"] < 2.4
    page.get_by_role("button", name="As fitted").click()
    expect(slider).to_have_attribute("aria-valuetext", "2.44, as fitted")
    expect(page.get_by_role("checkbox", name="Prediction set")).to_be_checked()


def test_a_masked_class_is_0_and_is_called_masked(visit: Open) -> None:
    page = visit(DIGITS)
    page.get_by_role("checkbox", name="zero may be chosen").uncheck()
    expect(cell(page, "zero")).to_have_text("masked")
    answer = shown(page)
    assert answer["probabilities"][0] == 0
    assert answer["labels"] == "five"


def test_a_link_brings_the_state_back(visit: Open) -> None:
    page = visit(DIGITS)
    page.get_by_role("spinbutton", name="logit of one as a number").fill("12")
    page.get_by_role("checkbox", name="nine may be chosen").uncheck()
    page.get_by_role("checkbox", name="Abstain below a confidence").check()
    expect(cell(page, "nine")).to_have_text("masked")
    page.wait_for_url("**masked*abstain*")
    answer = shown(page)
    again = visit(page.url.partition("/console/")[2])
    expect(cell(again, "nine")).to_have_text("masked")
    assert shown(again) == answer


def test_pasted_rows_are_stepped_through(visit: Open) -> None:
    page = visit(DIGITS)
    page.get_by_role("button", name="Paste…").click()
    page.get_by_role("textbox", name="Logits").fill(
        "\n".join([" ".join(["0"] * 9 + ["9"]), ",".join(["9"] + ["0"] * 9)])
    )
    page.get_by_role("button", name="Take them").click()
    expect(page.get_by_text("Row 1 of 2")).to_be_visible()
    expect(page.locator("tr.best")).to_contain_text("nine")
    page.get_by_role("button", name="Next row").click()
    expect(page.locator("tr.best")).to_contain_text("zero")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1 2 3", "rows have 3 logits; expected 10, as the model has classes"),
        ("a, b", "expected rows of numbers, all of one length"),
        ("[[1, 2], [3]]", "expected rows of numbers, all of one length"),
    ],
)
def test_wrong_rows_hear_what_was_expected(visit: Open, text: str, sentence: str) -> None:
    page = visit(DIGITS)
    page.get_by_role("button", name="Paste…").click()
    page.get_by_role("textbox", name="Logits").fill(text)
    page.get_by_role("button", name="Take them").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text(sentence)
    page.get_by_role("button", name="Cancel").click()
    expect(cell(page, "zero")).to_have_text("40.23 %")


def test_what_the_service_refuses_is_said_at_its_class(visit: Open) -> None:
    page = visit(DIGITS)
    field = page.get_by_role("spinbutton", name="logit of two as a number")
    field.fill("1e39")
    expect(page.get_by_role("alert").first).to_contain_text("float32")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill("1")
    expect(page.locator("p.note.bad").first).to_have_text("")


def test_1000_classes_are_20_rows_and_a_line(visit: Open) -> None:
    page = visit("#/playground/softmax")
    page.get_by_role("button", name="Paste…").click()
    page.get_by_role("textbox", name="Logits").fill(" ".join(str(k % 17) for k in range(1000)))
    page.get_by_role("button", name="Take them").click()
    expect(page.locator(".classes tbody tr")).to_have_count(20)
    expect(page.get_by_text("and 980 more classes, none above")).to_be_visible()


def test_a_drag_asks_once_a_step_at_most_and_one_at_a_time(visit: Open) -> None:
    page = visit(DIGITS + "&compare=")  # with what T = 1 would answer is asked for, too, some steps ask twice
    expect(cell(page, "zero")).to_have_text("40.23 %")
    expect(page.get_by_role("img", name="Probability against temperature")).to_be_visible()  # what is asked last
    under_way: set[Request] = set()
    most, asked = 0, 0

    def begin(request: Request) -> None:
        nonlocal most, asked
        if request.method == "POST":
            under_way.add(request)
            asked += 1
            most = max(most, len(under_way))

    def end(request: Request) -> None:
        under_way.discard(request)

    page.on("request", begin)
    page.on("requestfinished", end)
    page.get_by_role("slider", name="Temperature").evaluate(
        """async (slider) => {
          for (let i = 0; i < 60; i++) {
            slider.value = String(-2 + i / 10);
            slider.dispatchEvent(new Event("input"));
            await new Promise(requestAnimationFrame);
          }
        }"""
    )
    wait_until(page, lambda: asked >= 2 and not under_way)
    assert asked <= 60
    assert most == 1


def test_a_sigmoids_classes_are_each_on_their_own(visit: Open) -> None:
    page = visit("#/playground/sigmoid-affine-a?rows=[[[3,2,-9,0]]]")
    expect(page.locator(".figures")).to_contain_text("3 classes")
    expect(page.get_by_text("threshold of the class")).to_be_visible()
    assert shown(page)["prediction"] == [0, 1, 3]


def test_the_zeros_of_a_sparse_head_are_zeros(visit: Open) -> None:
    page = visit("#/playground/sparsemax?rows=[[[3,2.5,-9,0]]]")
    expect(cell(page, "class 2")).to_have_text("0")
    expect(page.locator(".figures")).to_contain_text("2 classes")


def test_members_have_a_field_each_and_their_disagreement_is_told(visit: Open, served: Running) -> None:
    page = visit("#/playground/ensemble-logits?rows=[[[3,0,0],[0,3,0]]]")
    expect(page.get_by_role("spinbutton", name="logit of class 1, member 2")).to_have_value("3")
    expect(page.locator(".figures")).to_contain_text("how far the members disagree")
    asked = {"logits": [[[3, 0, 0], [0, 3, 0]]], "outputs": ["mutual_information"]}
    assert shown(page)["mutual_information"] == served.predict(asked, "ensemble-logits").json()["mutual_information"]


def test_other_class_frequencies_and_abstention_are_sent(visit: Open) -> None:
    page = visit(DIGITS)
    page.get_by_role("checkbox", name="Other class frequencies").check()
    page.get_by_role("spinbutton", name="frequency of zero").fill("0.9")
    page.get_by_role("checkbox", name="Abstain below a confidence").check()
    page.get_by_role("spinbutton", name="Abstain below this confidence").fill("0.999")
    expect(page.locator(".figures")).to_contain_text("the confidence is below 0.999")
    answer = shown(page)
    assert answer["prediction"] is None
    assert answer["probabilities"][0] > 0.5


def test_another_model_or_version_is_compared(visit: Open) -> None:
    page = visit(DIGITS)
    page.get_by_label("Compare with").select_option("softmax/1")
    expect(page.locator("th.compared")).to_have_text("softmax, version 1")
    expect(page.get_by_role("row", name="zero").locator(".compared")).to_have_text("57.34 %")
    page.get_by_label("Compare with").select_option("")
    expect(page.get_by_role("row", name="zero").locator(".compared")).to_have_text("")


def test_the_examples_give_other_rows(visit: Open) -> None:
    page = visit(DIGITS)
    page.get_by_label("Example").select_option("flat")
    expect(cell(page, "zero")).to_have_text("10.00 %")
    page.get_by_label("Example").select_option("sure")
    expect(page.locator("tr.best")).to_contain_text("zero")
    page.get_by_role("button", name="Random").click()
    page.get_by_role("button", name="Log", exact=True).click()
    expect(page.locator(".scale")).to_contain_text("10⁻⁸")


def test_what_is_answered_after_another_row_was_chosen_is_left_aside(visit: Open) -> None:
    page = visit(DIGITS)
    held: list[Route] = []

    def hold(route: Route) -> None:
        if '"temperature":[' in str(route.request.post_data) and not held:
            held.append(route)
        else:
            route.continue_()

    page.route("**/predict", hold)
    page.get_by_label("Example").select_option("torn")
    expect(page.get_by_label("What temperature does")).to_be_visible()
    wait_until(page, lambda: held)
    page.get_by_label("Example").select_option("flat")
    held[0].continue_()
    expect(cell(page, "zero")).to_have_text("10.00 %")
    expect(page.get_by_role("img", name="Probability against temperature")).to_be_visible()


@pytest.mark.parametrize("address", [DIGITS, "#/playground/ensemble-logits"])
@pytest.mark.parametrize("width", [320, 390, 700])
def test_on_a_phone_a_class_has_its_logits_beside_it_and_all_bars_have_one_scale(
    visit: Open, address: str, width: int
) -> None:
    page = visit(address, viewport={"width": width, "height": 640})
    expect(page.locator("tr.best")).to_be_visible()
    rows = page.locator(".classes tbody tr").evaluate_all(
        """(rows) => rows.map((row) => {
          const at = (selector) => row.querySelector(selector).getBoundingClientRect();
          const [name, field, bar, answer] = [".class", "input[type=number]", ".track", ".answer"].map(at);
          return [field.top < name.bottom && name.top < field.bottom, answer.left >= bar.right, bar.width];
        })"""
    )
    assert len(rows) > 3
    assert all(beside and behind for beside, behind, _ in rows), rows
    assert len({width for _, _, width in rows}) == 1, rows
