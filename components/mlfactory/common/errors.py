"""The one error that a user can mend: it ends a command with exit code 2 and one line."""


class InputError(ValueError):
    """A file, a parameter or an artifact breaks a rule; the message names it, its value and the rule."""
