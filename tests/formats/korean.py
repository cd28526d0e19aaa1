"""A tokenizer.json of the kinds of parts that KoGPT-2's has, learnt from Korean sentences."""

import random

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

NOUNS = (
    '오늘 날씨 사람 나라 바다 하늘 아침 저녁 학교 선생님 '
    '친구 음악 영화 책 커피 고양이 강아지 여행 겨울 봄비'
).split()
ENDS = '은 는 이 가 을 를 에서 에게 으로 까지 부터 처럼'.split()
VERBS = '좋아한다 걸었다 마셨습니다 읽는다 떠났어요 기다렸다 흐른다 웃었다 꿈꾼다'.split()
MARKS = ['.', '!', '?', ', 그리고 2024년 GPT-2.', ' "네."']
SPECIAL = ['<s>', '</s>', '<usr>', '<pad>', '<sys>', '<unk>', '<mask>']


def sentences(n: int) -> list[str]:
    """So many different Korean sentences."""
    choose, found = random.Random(0), {}
    while len(found) < n:
        words = [choose.choice(NOUNS) + choose.choice(ENDS) for _ in range(choose.randint(1, 5))]
        text = f'{" ".join(words)} {choose.choice(VERBS)}{choose.choice(MARKS)}'
        found.setdefault(text)
    return list(found)


def tokenizer(n_vocab: int = 800, unused: int = 100) -> Tokenizer:
    """BPE over words that begin with a ▁, no token for unknown letters, none for bytes."""
    plain = {'clean_text': False, 'handle_chinese_chars': False, 'strip_accents': False}
    found = Tokenizer(models.BPE())
    found.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.BertNormalizer(**plain, lowercase=False)]
    )
    found.pre_tokenizer = pre_tokenizers.Metaspace()
    found.decoder = decoders.Metaspace()
    special = [*SPECIAL, *(f'<unused{number}>' for number in range(unused))]
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab, special_tokens=special, show_progress=False, initial_alphabet=['\n']
    )
    found.train_from_iterator(sentences(3000), trainer)
    return found
