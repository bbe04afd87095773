"""The one error that a person sees: a sentence that says what is wrong and what to do."""


class Refusal(Exception):
    """Printed without a trace; the command ends with status 1."""
