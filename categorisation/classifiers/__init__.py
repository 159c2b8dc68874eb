"""Classifiers: the protocol, a stand-in that chooses at random, and one that compares meanings."""

from categorisation.classifiers.dummy import DummyClassifier
from categorisation.classifiers.embedding import EmbeddingClassifier
from categorisation.classifiers.protocol import CategorySpec, Classification, Classifier

__all__ = ["CategorySpec", "Classification", "Classifier", "DummyClassifier", "EmbeddingClassifier"]
