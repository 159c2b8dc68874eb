"""Every write to categories and labels.

categories      what a project's taxonomy holds
labels          what people decide, and what becomes of labels when a category goes
claims          whose turn it is to classify a thread, and when
classification  the classifier's way: claim, read, classify, write
"""

from categorisation.services.categories import (
    change_category,
    create_category,
    delete_category,
    finish_deletions,
    seed_taxonomy,
)
from categorisation.services.claims import MAX_ATTEMPTS, retry_classification
from categorisation.services.classification import Outcome, label_thread, sweep_unlabelled_threads
from categorisation.services.labels import assign_label, forget_label

__all__ = [
    "MAX_ATTEMPTS",
    "Outcome",
    "assign_label",
    "change_category",
    "create_category",
    "delete_category",
    "finish_deletions",
    "forget_label",
    "label_thread",
    "retry_classification",
    "seed_taxonomy",
    "sweep_unlabelled_threads",
]
