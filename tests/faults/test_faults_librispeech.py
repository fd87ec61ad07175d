"""Faults in every stage of egs/librispeech."""

from cases import Cases, parameters

pytest_generate_tests = parameters("librispeech")


class Test(Cases):
    recipe = "librispeech"
