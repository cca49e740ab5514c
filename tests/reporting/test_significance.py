"""The tests themselves are tested: on tables without a difference, and on differences as large as the margin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flaxmask.evaluation.scores import corpus_score
from flaxmask.evaluation.translation import translation_counts
from flaxmask.reporting.significance import DRAWS, compare, equivalence, holm, mark, of_examples, of_seeds
from tests.evaluation.test_translation import texts

BETTER = {"accuracy": "high", "per": "low", "loss": "low", "tokenised_bleu": "high", "chrf": "high"}


def ratios(rng, rows: int, seeds: int, examples: int = 150) -> dict:
    """A table without a difference: examples that are hard or easy, seeds that are lucky or not, rows that do not
    matter.
    """
    labels = rng.integers(1, 12, examples)
    hard = rng.beta(2, 2, examples)
    table = {"accuracy": {}, "loss": {}}
    for row in range(rows):
        luck = rng.normal(0, 0.05, seeds) if seeds > 1 else [0.0]
        for name in table:
            table[name][f"row {row}"] = {}
        for seed in range(seeds):
            right = rng.binomial(labels, np.clip(hard + luck[seed], 0, 1))
            # A loss that goes with the accuracy, as losses do.
            nats = labels * 1.5 - right + rng.normal(0, 0.3, examples)
            for name, counted in (("accuracy", right), ("loss", nats)):
                counts = np.stack([counted, labels], axis=1)
                table[name][f"row {row}"][seed] = (corpus_score(name, counts), counts)
    return table


@pytest.mark.parametrize(("rows", "seeds", "tables"), [(2, 1, 500), (4, 1, 200), (3, 3, 200)])
def test_without_a_difference_few_tables_have_a_mark(rows, seeds, tables):
    rng = np.random.default_rng(rows * seeds)
    marked = sum(bool(mark(ratios(rng, rows, seeds), BETTER).best) for _ in range(tables))
    assert marked <= 0.05 * tables
    assert rows > 2 or marked > 0, "a test that never marks anything would pass"


@pytest.mark.slow
def test_without_a_difference_few_translations_have_a_mark():
    """Two systems of one quality, by BLEU and chrF."""
    counts = [translation_counts(*texts(0.3, seed)) for seed in range(200)]
    marked = 0
    for ours, theirs in zip(counts[::2], counts[1::2], strict=True):
        table = {
            name: {row: {0: (corpus_score(name, of[name]), of[name])} for row, of in (("a", ours), ("b", theirs))}
            for name in ("tokenised_bleu", "chrf")
        }
        marked += bool(mark(table, BETTER).best)
    assert marked <= 5


def test_a_clear_difference_is_marked_and_found_again():
    rng = np.random.default_rng(0)
    table = ratios(rng, 3, 1, 400)["accuracy"]
    right, labels = table["row 1"][0][1].T
    better = np.stack([np.minimum(right + (rng.random(400) < 0.5), labels), labels], axis=1)
    table["row 1"][0] = (corpus_score("accuracy", better), better)
    found = mark({"accuracy": table}, BETTER)
    assert found.best == {"accuracy": "row 1"}
    assert found.tests == 2
    assert 0 < found.smallest["accuracy"] < 8


def test_the_smallest_difference_is_seen_as_often_as_is_said():
    rng = np.random.default_rng(1)
    labels = np.full(300, 10)
    draw = lambda share: np.stack([rng.binomial(10, share, 300), labels], axis=1)
    smallest = of_examples("accuracy", draw(0.5), draw(0.5)).smallest()
    seen = sum(of_examples("accuracy", draw(0.5 + smallest / 100), draw(0.5)).p <= 0.05 for _ in range(200))
    assert 0.70 < seen / 200 < 0.90, "80 % are said"


def test_randomisation_is_the_exact_test_of_few_examples():
    """All 2¹⁰ ways of changing sides."""
    rng = np.random.default_rng(2)
    ours, theirs = (np.stack([rng.integers(0, 6, 10), np.full(10, 5)], axis=1) for _ in range(2))
    far = (ours - theirs)[:, 0]
    signs = np.array(np.meshgrid(*[[-1, 1]] * 10)).reshape(10, -1)
    exact = np.mean(np.abs(far @ signs) >= abs(far.sum()))
    assert of_examples("accuracy", ours, theirs).p == pytest.approx(exact, abs=0.04)


def test_bootstrap_of_a_ratio_has_the_error_of_a_mean():
    one, other = (translation_counts(*texts(errors, 1))["tokenised_bleu"] for errors in (0.2, 0.4))
    better, worse = of_examples("tokenised_bleu", one, other), of_examples("tokenised_bleu", other, one)
    assert better.value > 10
    assert better.p == worse.p == 1 / (DRAWS + 1)
    assert worse.value == -better.value
    assert 1.0 < better.error < 5.0
    same = translation_counts(*texts(0.2, 2))["tokenised_bleu"]
    assert of_examples("tokenised_bleu", one, same).p > 0.05
    assert of_examples("tokenised_bleu", one, one).p == 1.0


def test_over_seeds_it_is_student_s():
    ours, theirs = [3.0, 4.5, 5.0, 4.0], [2.5, 4.1, 4.9, 3.0]
    assert of_seeds(ours, theirs).p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert of_seeds([1.0, 1.0], [1.0, 1.0]).p == 1.0
    assert of_seeds([2.0, 2.0], [1.0, 1.0]).p == 0.0
    with pytest.raises(ValueError, match="at least 2 seeds"):
        of_seeds([1.0], [2.0])


def test_of_several_seeds_both_tests_are_made():
    counts = np.array([[3, 5]] * 20)
    cells = dict.fromkeys(range(3), (60.0, counts))
    assert len(compare("accuracy", cells, cells)) == 2
    assert len(compare("accuracy", {0: (60.0, counts)}, cells)) == 1, "one seed in common"
    assert len(compare("accuracy", {0: (60.0, counts)}, {0: (60.0, None)})) == 0
    with pytest.raises(ValueError, match="expected"):
        of_examples("accuracy", counts, counts[:3])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_its_definition(p_values):
    """The i-th smallest is rejected where it and all smaller ones are at most level / (m - i)."""
    adjusted = holm(p_values)
    for level in (0.01, 0.05, 0.3):
        rejected, open_ = set(), True
        for i, which in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            open_ = open_ and p_values[which] * (len(p_values) - i) <= level
            rejected |= {which} if open_ else set()
        assert {i for i, p in enumerate(adjusted) if p <= level} == rejected


def test_equivalence_is_shown_by_enough_examples_that_agree():
    rng = np.random.default_rng(0)
    right = (rng.random(2000) < 0.7).astype(float)
    flip = lambda share: np.where(rng.random(2000) < share, 1 - right, right)
    assert equivalence(flip(0.02) - right, 0.02) < 0.01
    assert equivalence((flip(0.05) - right)[:60], 0.02) > 0.05, "too few to show it"
    assert equivalence(right * (rng.random(2000) > 0.06) - right, 0.02) > 0.9
    assert equivalence([0.05] * 100, 0.02) == 1.0
    with pytest.raises(ValueError, match="at least 2"):
        equivalence([1.0], 0.1)


@pytest.mark.parametrize("examples", [3, 30, 300])
def test_an_effect_is_seldom_called_none(examples):
    """Where the difference is the margin itself, which is the worst case, or more."""
    rng = np.random.default_rng(examples)
    effects = rng.uniform(0.02, 0.04, 500)
    wrong = sum(equivalence(rng.normal(effect, 0.3, examples), 0.02) < 0.05 for effect in effects)
    assert wrong <= 25
    at_the_margin = sum(equivalence(rng.normal(0.02, 0.02, 300), 0.02) < 0.05 for _ in range(500))
    assert 8 <= at_the_margin <= 42, "25 expected; further off comes once in 1,000"
