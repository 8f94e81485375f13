import pytest

from serving.wording import GENERAL, explain_refusal, locate_error

COLUMNS = ["a", "b"]


ENFORCING = (
    "Failed to predict data 'secret'. \nError: Failed to enforce schema of data 'secret' with schema '['a': "
    "double]'. Error: "
)
BROKEN = (
    "Row 2, column 'a, b': against the rule, where the contract asks for a <= b. And 1 more like it or of "
    "other kinds."
)
CASTING = "Invalid input. Data is not compatible with model signature. Failed to convert column "


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            f"{ENFORCING}Model is missing inputs ['b']. Note that there were extra inputs: ['secret'].",
            "Columns are missing that the model needs: b.",
        ),
        (
            f"{ENFORCING}Incompatible input types for column a. Can not safely convert object to float64.",
            "Column a holds object, which cannot safely be converted to float64.",
        ),
        (
            f"{CASTING}a to type 'float64'. Error: 'ValueError(\"could not convert: 'secret'\")'",
            "Column a: a value cannot be read as float64.",
        ),
        (
            f"{CASTING}secret to type '<class 'numpy.str_'>'. Error: 'x'",
            "A value cannot be read as numpy.str_.",
        ),
        (
            f"{ENFORCING}Shape of input (1, 2) does not match expected shape (-1, 3).",
            "The input has the shape (1, 2), and the model needs (-1, 3).",
        ),
        (
            (
                f"{ENFORCING}Model inference is missing inputs. The model signature declares 3 inputs  but "
                "the provided value only has 2 inputs. Note: the inputs were not named in the signature"
            ),
            "The model needs 3 columns, and the input has 2.",
        ),
        (f"Failed to predict data 'secret'. \nError: {BROKEN}", BROKEN),
        (f"Failed to predict.\nError: {BROKEN.replace('a, b', 'a, secret')}", GENERAL),
        ("Invalid parameters found: {('add', 'secret')}", "The params do not fit the model's signature."),
        (f"{ENFORCING}something new about secret", GENERAL),
        ("Invalid input. secret", GENERAL),
        ("", GENERAL),
    ],
)
def test_safe_facts_are_told_and_rows_are_not(message: str, expected: str) -> None:
    said = explain_refusal(ValueError(message), columns=COLUMNS)
    assert said == expected
    assert "secret" not in said


def test_a_column_that_is_none_of_the_models_is_never_named() -> None:
    message = "Failed to predict data ''. \nError: Error: Model is missing inputs ['secret']."
    assert explain_refusal(ValueError(message), columns=COLUMNS) == GENERAL


def test_a_log_line_names_the_place_and_not_the_words() -> None:
    try:
        int("secret")
    except ValueError as error:
        place = locate_error(error)
    assert place.startswith("ValueError at ")
    assert "secret" not in place
    assert "test_wording.py" in place
