"""Faults of what users hand in and of what they are handed; see ``catalogue``."""

from __future__ import annotations

from tests.defects.planted import PlantedDefect

CLIENT = "client/polyrhythm_client"
RECIPES = "tests/unit/client/test_recipe.py"
SDK = "tests/integration/client/test_client.py"

CLIENT_DEFECTS = (
    PlantedDefect(
        name="pictures of a program carry no recipe",
        file=f"{CLIENT}/pictures.py",
        original="add_texts(bytes(self._files.pop(index)), recipe_texts(recipe_of(spec, report)))",
        planted="bytes(self._files.pop(index))",
        test_id=f"{SDK}::test_a_picture_of_a_program_carries_its_recipe_and_is_made_again_by_it",
        why="the file looks as ever, and a week later nobody knows how it was made",
    ),
    PlantedDefect(
        name="of two values of one field the last counts",
        file=f"{CLIENT}/json_reading.py",
        original='raise ValueError(f"one object has {name!a} twice")',
        planted="pass",
        test_id=f"{RECIPES}::test_an_object_that_says_something_twice_is_refused",
        why="a plan that was edited by hand is followed by the line that its author took for the old one",
    ),
    PlantedDefect(
        name="strides of a file are multiplied before they are looked at",
        file=f"{CLIENT}/recipes/recipe_file.py",
        original='"stride": STRIDES,',
        planted='"stride": range(1, 2**31),',
        test_id=f"{RECIPES}::test_a_stride_that_nobody_takes_is_refused_before_multiples_of_many_are_computed[2147483647]",
        why="a file of a few megabytes keeps the command busy with least common multiples for ever",
    ),
    PlantedDefect(
        name="texts of a file that cannot be sent are read",
        file=f"{CLIENT}/json_reading.py",
        original="case str() if not is_carried(value):",
        planted="case str() if False:",
        test_id=f"{RECIPES}::test_values_that_cannot_be_sent_are_refused[polyrhythm:request-changes3-request.prompt]",
        why="a picture's file with half of a surrogate pair ends the command in a traceback of the encoder",
    ),
    PlantedDefect(
        name="an option sets another field of the request",
        file=f"{CLIENT}/cli/options.py",
        original='Use(field="overrides.tail_steps")',
        planted='Use(field="overrides.warmup_steps")',
        test_id="tests/unit/client/test_options.py::test_an_option_sets_its_field_of_the_request_and_no_other[tail]",
        why="--tail lengthens the start of the picture, and its end is as coarse as before",
    ),
)
