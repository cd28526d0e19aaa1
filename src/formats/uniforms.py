"""NumPy's uniform numbers in TensorFlow's operations: a SavedModel has no NumPy.

What np.random.default_rng([seed, number]).random(length, np.float32) gives, bit for bit: numpy's
SeedSequence mixes the words of the seed into a state of PCG64, each of whose 64 bits are two
numbers. https://www.pcg-random.org, https://numpy.org/doc/stable/reference/random/bit_generators
"""

import tensorflow as tf

POOL = 4  # words of 32 bits
XSHIFT = 16
INIT_A, MULT_A = 0x43B0D7E5, 0x931E8875
INIT_B, MULT_B = 0x8B51F9DD, 0x58F38DED
MIX_L, MIX_R = 0xCA01F9DD, 0x4973F715
MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645  # of PCG64, 128 bits
LOW = 0xFFFFFFFF


def uniforms(seed, batch, length):
    """Numbers from (0, 1], as sample.draw wants them: float32 [batch, length].

    seed: int64, from 0 on; row i is of sample number i, as sample.draw_uniforms has them.
    """
    state, step = begin(words(seed, batch))
    count = (length + 1) // 2
    found = tf.TensorArray(tf.float32, count, element_shape=[None, 2])

    def body(i, high, low, found):
        (high, low), (first, second) = draw((high, low), step)
        return i + 1, high, low, found.write(i, tf.stack([first, second], axis=1))

    start = (tf.constant(0), *state, found)
    *_, found = tf.while_loop(lambda i, *_: i < count, body, start)
    pairs = tf.transpose(found.stack(), [1, 0, 2])
    return 1 - tf.reshape(pairs, [batch, 2 * count])[:, :length]


def words(seed, batch):
    """The four words of entropy of each row: the seed's, one or two, then the row's number."""
    seed = tf.cast(seed, tf.uint64)
    low, high = (tf.fill([batch], tf.cast(x, tf.uint32)) for x in (seed & LOW, shifted(seed, 32)))
    number, none = tf.cast(tf.range(batch), tf.uint32), tf.zeros([batch], tf.uint32)
    return [low, *tf.cond(seed > LOW, lambda: (high, number), lambda: (number, none)), none]


def begin(entropy: list):
    """The state of PCG64, and what it moves on by, both as (high, low) words of 64 bits."""
    pool = mixed(entropy)
    multiplier, found = INIT_B, []
    for i in range(2 * POOL):
        word = pool[i % POOL] ^ u32(multiplier)
        multiplier = multiplier * MULT_B & LOW
        word *= u32(multiplier)
        found.append(tf.cast(word ^ shifted(word, XSHIFT), tf.uint64))
    first, second, third, fourth = (
        found[i] | tf.bitwise.left_shift(found[i + 1], u64(32)) for i in range(0, 2 * POOL, 2)
    )
    one = u64(1)
    step = (
        tf.bitwise.left_shift(third, one) | shifted(fourth, 63),
        tf.bitwise.left_shift(fourth, one) | one,
    )
    return advanced(added(step, (first, second)), step), step


def mixed(entropy: list) -> list:
    """Every word of the pool hashed into every other."""
    multiplier = INIT_A

    def hashed(word):
        nonlocal multiplier
        word ^= u32(multiplier)
        multiplier = multiplier * MULT_A & LOW
        word *= u32(multiplier)
        return word ^ shifted(word, XSHIFT)

    pool = [hashed(word) for word in entropy]
    for source in range(POOL):
        for i in range(POOL):
            if i != source:
                word = u32(MIX_L) * pool[i] - u32(MIX_R) * hashed(pool[source])
                pool[i] = word ^ shifted(word, XSHIFT)
    return pool


def draw(state, step):
    """The next state, and two numbers in [0, 1) of 24 bits each."""
    high, low = state = advanced(state, step)
    turn, word = shifted(high, 58), high ^ low
    word = shifted(word, turn) | tf.bitwise.left_shift(word, (u64(64) - turn) & u64(63))
    halves = word & u64(LOW), shifted(word, 32)
    return state, [tf.cast(shifted(half, 8), tf.float32) * 2.0**-24 for half in halves]


def advanced(state, step):
    """state * MULTIPLIER + step, of 128 bits, each as (high, low)."""
    high, low = state
    by_high, by_low = u64(MULTIPLIER >> 64), u64(MULTIPLIER & (2**64 - 1))
    return added((high_product(low, by_low) + high * by_low + low * by_high, low * by_low), step)


def high_product(x, y):
    """The upper 64 of the 128 bits of x * y."""
    (a, b), (c, d) = ((shifted(z, 32), z & u64(LOW)) for z in (x, y))
    middle = a * d + shifted(b * d, 32)
    other = b * c + (middle & u64(LOW))
    return a * c + shifted(middle, 32) + shifted(other, 32)


def added(x, y):
    """x + y, of 128 bits."""
    low = x[1] + y[1]
    return x[0] + y[0] + tf.cast(low < y[1], tf.uint64), low


def shifted(x, by):
    """x >> by"""
    return tf.bitwise.right_shift(x, tf.cast(by, x.dtype))


def u32(x: int):
    return tf.constant(x, tf.uint32)


def u64(x: int):
    return tf.constant(x, tf.uint64)
