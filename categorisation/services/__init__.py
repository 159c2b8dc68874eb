"""Every write to categories and labels.

categories      what a project's taxonomy holds
labels          what people decide on a thread
history         whose doing it was
runs            stretches of background labelling: begun, paused, resumed, cancelled
emptying        what becomes of the threads of a category that was deleted
claims          whose turn it is to classify a thread, and when
classification  the classifier's way: claim, read, classify, write
"""

from categorisation.services.categories import (
    change_category,
    create_category,
    delete_category,
    seed_taxonomy,
)
from categorisation.services.claims import MAX_ATTEMPTS, retry_classification
from categorisation.services.classification import Outcome, label_thread, sweep_unlabelled_threads
from categorisation.services.emptying import empty_categories
from categorisation.services.history import Actor
from categorisation.services.labels import assign_label, forget_label
from categorisation.services.runs import cancel_run, pause_run, resume_run, start_backfill, start_reclassify

__all__ = [
    "MAX_ATTEMPTS",
    "Actor",
    "Outcome",
    "assign_label",
    "cancel_run",
    "change_category",
    "create_category",
    "delete_category",
    "empty_categories",
    "forget_label",
    "label_thread",
    "pause_run",
    "resume_run",
    "retry_classification",
    "seed_taxonomy",
    "start_backfill",
    "start_reclassify",
    "sweep_unlabelled_threads",
]
