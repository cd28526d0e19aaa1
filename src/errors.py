"""What a user can mend."""

import errno

FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, 'EDQUOT', errno.ENOSPC))
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
MENDS = {
    **dict.fromkeys(FULL, 'free some space there'),
    **dict.fromkeys(REFUSED, 'choose another place or change its permissions'),
    errno.ENAMETOOLONG: 'choose a shorter name',
    errno.EMFILE: 'run: ulimit -n 4096',
}


class UserError(ValueError):
    """A user's mistake in one sentence: what is wrong, the value, the next command."""


def what_mends(error: Exception, otherwise: str = 'choose another place') -> str:
    """The end of a sentence about a file that the system refuses; `otherwise` about what else is
    wrong with it."""
    return MENDS.get(getattr(error, 'errno', None), otherwise)
