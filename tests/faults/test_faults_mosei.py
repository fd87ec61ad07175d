"""Faults in every stage of egs/mosei."""

from cases import Cases, parameters

pytest_generate_tests = parameters("mosei")


class Test(Cases):
    recipe = "mosei"
