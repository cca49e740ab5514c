import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask.data.sources import multi30k, tatoeba, wnut17
from flaxmask.data.sources.files import lines
from flaxmask.data.tokenizers import SentencePieces, train_pieces
from flaxmask.data.vocabulary import EOS, UNKNOWN, Vocabulary
from flaxmask.names import Refused
from tests.data.sources.published import need

TEXTS = [
    "a man rides a red bicycle",
    "two men ride bicycles",
    "ein Mann fährt Fahrrad",
    "red and green, green and red",
] * 5
ODD = (
    *("", " ", "  a  b ", " lead", "trail ", "tab\there", "line\u2028separator", "\u00a0\u3000", "\x85"),
    *("▁", "a▁b", "▁▁ ▁", "日本語 😀👩‍👩‍👧", "ᚠᛇᚻ ꙮ", "<unk> </s> <pad> <0x41>", "e\u0301 é", "\ufeff"),
)


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def pieces(request) -> SentencePieces:
    return train_pieces(TEXTS, request.param, 320)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30))
def test_every_text_comes_back(pieces, text):
    ids = pieces.encode(text)
    assert ids[-1] == EOS
    assert min(ids[:-1], default=4) >= 4
    assert max(ids) < len(pieces)
    assert pieces.decode(ids) == text


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_come_back(pieces, text):
    assert pieces.decode(pieces.encode(text)) == text
    assert UNKNOWN not in pieces.encode(text)
    assert pieces.unknown(text) == []


def test_a_word_is_the_same_piece_wherever_it_stands(pieces):
    first, second = pieces.encode("red red")[:-1], pieces.encode("red")[:-1]
    assert first == second * 2
    assert pieces.encode_words(["red", "", "red"])[0] == pieces.encode_words(["red"])[0]
    assert all(pieces.encode_words(["red", "", "▁"])), "every word has a piece to carry its tag"


def test_what_follows_the_end_mark_is_not_read(pieces):
    assert pieces.decode([*pieces.encode("red"), *pieces.encode("green")]) == "red"


@pytest.mark.parametrize("kind", ["bpe", pytest.param("unigram", marks=pytest.mark.slow)])
def test_corpora_come_back_line_by_line(kind):
    """100 % of the lines of Multi30k, Tatoeba and WNUT17, from pieces learnt on Multi30k's English alone."""
    splits = ("train", "validation", "test")
    files = [multi30k.file_of(split, language) for split in splits for language in ("en", "de", "fr")]
    files += [tatoeba.EN_ZH, *wnut17.FILES.values()]
    need(*files)
    pieces = train_pieces(lines(files[0]), kind, 2000)
    texts = [line for file in files for line in lines(file)]
    assert len(texts) > 190_000
    wrong = [text for text in texts if pieces.decode(pieces.encode(text)) != text]
    assert not wrong


def test_pieces_are_learnt_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = train_pieces(iter(TEXTS), "bpe", 320)
    [kept] = (tmp_path / "flaxmask" / "tokenizers").iterdir()
    assert kept.read_bytes() == first.model
    monkeypatch.setattr("flaxmask.data.tokenizers._train", lambda *_: pytest.fail("learnt again"))
    assert train_pieces(iter(TEXTS), "bpe", 320).model == first.model


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_texts_with_few_spaces_come_back(kind):
    """Where spaces are too few to be learnt they must still be told from the sign that stands for them."""
    for texts in (["ab" * 1000], ["天地玄黄宇宙洪荒" * 300 + " x"]):
        pieces = train_pieces(texts, kind, 300)
        for text in [*texts, "a b", " ", "▁ a"]:
            assert pieces.decode(pieces.encode(text)) == text


def test_a_damaged_or_missing_cache_costs_time_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = train_pieces(TEXTS, "bpe", 320).model
    [kept] = (tmp_path / "flaxmask" / "tokenizers").iterdir()
    kept.write_bytes(b"damaged")
    assert train_pieces(TEXTS, "bpe", 320).model == first == kept.read_bytes()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert train_pieces(TEXTS, "bpe", 320).model == first


def test_lines_are_told_from_one_text_with_a_line_feed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    train_pieces(["red\ngreen"] * 5, "bpe", 290)
    train_pieces(["red", "green"] * 5, "bpe", 290)
    assert len(list((tmp_path / "flaxmask" / "tokenizers").iterdir())) == 2


def test_both_kinds_are_what_they_are_called():
    kinds = {kind: train_pieces(TEXTS, kind, 320) for kind in ("bpe", "unigram")}
    model = lambda kind: sentencepiece.SentencePieceProcessor(model_proto=kinds[kind].model)
    whole = {kind: [float(model(kind).get_score(i)).is_integer() for i in range(260, 290)] for kind in kinds}
    assert all(whole["bpe"]), "BPE numbers its merges"
    assert not all(whole["unigram"]), "unigram has log probabilities"


def test_other_text_or_settings_learn_other_pieces(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    train_pieces(TEXTS, "bpe", 320)
    train_pieces(TEXTS, "bpe", 310)
    train_pieces(TEXTS, "unigram", 310)
    train_pieces([*TEXTS, "one more"], "bpe", 320)
    assert len(list((tmp_path / "flaxmask" / "tokenizers").iterdir())) == 4


def test_little_text_learns_fewer_pieces():
    for kind in ("bpe", "unigram"):
        assert 260 < len(train_pieces(TEXTS, kind, 100_000)) < 1000


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        (["", "  "], 300, "there is no text to learn a vocabulary from"),
        (TEXTS, 50, r"data\.vocabulary_size=50: expected at least 2\d\d, for its characters"),
    ],
)
def test_what_cannot_be_learnt_is_refused_in_one_line(texts, size, message):
    with pytest.raises(Refused, match=message) as error:
        train_pieces(texts, "bpe", size)
    assert "\n" not in str(error.value)


def test_words_and_characters_keep_the_commonest():
    words = Vocabulary.build(["b a a", "c b a"], " ", size=6)
    assert words.symbols == ("a", "b")
    assert words.encode("c b") == [UNKNOWN, 5, EOS]
    assert words.unknown("c b d c") == ["c", "d"]
    assert words.encode_words(["a", "", "c"]) == [[4], [UNKNOWN], [UNKNOWN]]
    assert Vocabulary.build(["ba"], "", size=5).symbols == ("a",), "of equally common ones the first in the alphabet"
