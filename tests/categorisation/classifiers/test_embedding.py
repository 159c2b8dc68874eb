from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from categorisation.classifiers import CategorySpec, EmbeddingClassifier
from categorisation.classifiers.cues import count_cues, split_words
from categorisation.classifiers.embedding import CUE_LIMIT, CUE_WEIGHT, TEMPERATURE
from categorisation.errors import ClassifierError, ClassifierUnavailable
from knowledge.errors import EmbedderRefused, EmbedderUnavailable, ModelFilesInvalid
from tests.categorisation.classifiers.fakes import FailingEmbedder, WordEmbedder

FRUIT = CategorySpec("f", "Fruit", "sweet things", ("red apple", "yellow banana"), ("peel*",))
TOOLS = CategorySpec("t", "Tools", "hard things", ("steel hammer", "steel saw"), ("nail",))

WORDS = st.lists(st.sampled_from(["red", "apple", "steel", "saw", "peel", "nail", "?!"]), max_size=4).map(" ".join)
CATEGORIES = st.lists(
    st.builds(
        CategorySpec, st.uuids().map(str), WORDS, WORDS, st.lists(WORDS, max_size=3).map(tuple), st.just(("nail",))
    ),
    min_size=1,
    max_size=4,
)


def naive_scores(question: str, categories: list[CategorySpec]) -> list[float]:
    """The score as its docstring tells it, one number at a time."""
    embedder = WordEmbedder()
    texts_of = []
    for category in categories:
        summary = ": ".join(part for part in (category.title.strip(), category.description.strip()) if part)
        texts_of.append([text for text in (*category.examples, summary) if text.strip()])
    vectors_of = [[embedder.embed_query(text).astype(float) for text in texts] for texts in texts_of]
    vector = embedder.embed_query(question).astype(float)
    scores = []
    for category, vectors in zip(categories, vectors_of, strict=True):
        score = -1.0
        centroid = np.mean(vectors, axis=0) if vectors else np.zeros(1)
        if centroid.any():
            score = sum(a * b for a, b in zip(vector, centroid, strict=True)) / float(np.sqrt(sum(centroid**2)))
        cues = sum(count_cues(split_words(question), [cue]) for cue in category.cues)
        scores.append(score + CUE_WEIGHT * min(cues, CUE_LIMIT))
    return scores


@given(question=WORDS, categories=CATEGORIES)
def test_scores_and_confidences_are_those_of_the_naive_twin(question: str, categories: list[CategorySpec]) -> None:
    (found,) = EmbeddingClassifier(WordEmbedder()).classify([question], categories)
    scores = naive_scores(question, categories)
    powers = [exp((score - max(scores)) / TEMPERATURE) for score in scores]
    assert found.confidence == pytest.approx(1 / sum(powers), abs=1e-4)
    assert 0 <= found.confidence <= 1
    chosen = [category.id for category in categories].index(found.category_id)
    assert scores[chosen] == pytest.approx(max(scores), abs=1e-5)


def test_each_question_gets_the_category_whose_examples_are_nearest_in_order() -> None:
    found = EmbeddingClassifier(WordEmbedder()).classify(["a steel knife", "an apple", "a saw"], [FRUIT, TOOLS])
    assert [classification.category_id for classification in found] == ["t", "f", "t"]


def test_title_and_description_stand_in_for_examples_that_nobody_wrote() -> None:
    pets = CategorySpec("p", "Pets", "dogs and cats")
    (found,) = EmbeddingClassifier(WordEmbedder()).classify(["my cats"], [FRUIT, pets])
    assert found.category_id == "p"


@pytest.mark.parametrize("silent", [CategorySpec("s", ""), CategorySpec("s", "  ", "\n", ("", " "), ("", "?!"))])
def test_a_category_without_a_word_is_chosen_only_when_it_is_alone(silent: CategorySpec) -> None:
    classifier = EmbeddingClassifier(WordEmbedder())
    beside = classifier.classify(["nothing that anybody knows", ""], [silent, FRUIT])
    assert [found.category_id for found in beside] == ["f", "f"]
    (alone,) = classifier.classify(["anything"], [silent])
    assert (alone.category_id, alone.confidence) == ("s", 1.0)
    (one_of_two,) = classifier.classify(["anything"], [silent, CategorySpec("other", "")])
    assert one_of_two.confidence == pytest.approx(0.5)


def test_a_cue_decides_between_categories_that_are_as_near() -> None:
    classifier = EmbeddingClassifier(WordEmbedder())
    assert classifier.classify(["peeling it"], [TOOLS, FRUIT])[0].category_id == "f"
    assert classifier.classify(["a nail"], [FRUIT, TOOLS])[0].category_id == "t"


def test_cues_do_not_outvote_the_meaning() -> None:
    loud = CategorySpec("loud", "Loud", cues=("red", "apple", "yellow", "banana"))
    (found,) = EmbeddingClassifier(WordEmbedder()).classify(["red apple yellow banana"], [loud, FRUIT])
    assert found.category_id == "f"


def test_prototypes_are_embedded_once_and_questions_in_one_batch() -> None:
    embedder = WordEmbedder()
    classifier = EmbeddingClassifier(embedder)
    classifier.classify(["one"], [FRUIT, TOOLS])
    embedder.embedded.clear()
    classifier.classify(["two", "three"], [TOOLS, FRUIT])
    assert embedder.embedded == ["two", "three"]


def test_an_edited_category_embeds_only_what_is_new() -> None:
    embedder = WordEmbedder()
    classifier = EmbeddingClassifier(embedder)
    classifier.classify(["one"], [FRUIT])
    embedder.embedded.clear()
    classifier.classify(["one"], [CategorySpec("f", "Fruit", "sweet things", ("red apple", "green pear"))])
    assert embedder.embedded == ["green pear", "one"]


def test_the_cache_forgets_what_was_used_least_recently_and_may_be_smaller_than_one_taxonomy() -> None:
    embedder = WordEmbedder()
    classifier = EmbeddingClassifier(embedder, cached_texts=3)
    for categories in ([FRUIT], [TOOLS], [FRUIT]):
        assert classifier.classify(["apple"], categories)[0].category_id == categories[0].id
    assert embedder.embedded.count("red apple") == 2
    both = EmbeddingClassifier(embedder, cached_texts=1).classify(["apple"], [FRUIT, TOOLS])
    assert both[0].category_id == "f"


def test_lanes_share_one_classifier() -> None:
    classifier = EmbeddingClassifier(WordEmbedder(), cached_texts=4)
    questions = ["apple", "steel"] * 20
    with ThreadPoolExecutor(8) as lanes:
        found = list(lanes.map(lambda question: classifier.classify([question], [FRUIT, TOOLS])[0], questions))
    assert [classification.category_id for classification in found] == ["f", "t"] * 20


def test_no_questions_need_no_embedding() -> None:
    embedder = WordEmbedder()
    assert EmbeddingClassifier(embedder).classify([], [FRUIT]) == []
    assert embedder.embedded == []


def test_no_categories_are_an_error_that_another_try_does_not_cure() -> None:
    with pytest.raises(ClassifierError) as caught:
        EmbeddingClassifier(WordEmbedder()).classify(["anything"], [])
    assert not isinstance(caught.value, ClassifierUnavailable)


@pytest.mark.parametrize(
    ("fault", "retry_after_s"), [(EmbedderUnavailable("down", retry_after_s=17), 17), (ModelFilesInvalid("gone"), 60)]
)
def test_a_fault_of_the_embedder_says_when_to_come_back(fault: Exception, retry_after_s: int) -> None:
    with pytest.raises(ClassifierUnavailable, match=str(fault)) as caught:
        EmbeddingClassifier(FailingEmbedder(fault)).classify(["anything"], [FRUIT])
    assert caught.value.retry_after_s == retry_after_s
    assert caught.value.__cause__ is fault


def test_a_text_that_the_embedder_refuses_is_the_texts_fault() -> None:
    with pytest.raises(ClassifierError, match="too long") as caught:
        EmbeddingClassifier(FailingEmbedder(EmbedderRefused("too long"))).classify(["anything"], [FRUIT])
    assert not isinstance(caught.value, ClassifierUnavailable)


def test_the_version_names_the_embedder() -> None:
    assert EmbeddingClassifier(WordEmbedder()).version == "embedding-1/words@1"
