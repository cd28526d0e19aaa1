"""What a user can mend."""


class UserError(ValueError):
    """A user's mistake in one sentence: what is wrong, the value, the next command."""
