"""Every write to categories and labels.

categories      what a project's taxonomy holds
labels          what people decide on a thread
history         whose doing it was
runs            stretches of background labelling: begun, paused, resumed, cancelled
previews        a draft of the categories, tried on a sample
erasing         what goes with a conversation that is erased, or a project that is deleted
emptying        what becomes of the threads of a category that was deleted
claims          whose turn it is to classify a thread, and when
scopes          which threads a run has to do with
writing         classifiers' labels, in bulk
results         what becomes of what came out of a classifier: labels, failures, progress
breaker, health whether a classifier is well
window          many classifications at once, with its sources, streams, calls, waiting room and repeats
live            the window for new conversations
batches         the window for runs
backlog         how much of all that waits, for operators
old_threads     those that are announced though no window looks for them
classification  a single thread's way
imports         past conversations come in
"""

from categorisation.services.batches import BatchParts, fresh_batches, run_batch
from categorisation.services.categories import (
    change_category,
    create_category,
    delete_category,
    seed_taxonomy,
)
from categorisation.services.claims import retry_classification
from categorisation.services.classification import label_thread
from categorisation.services.emptying import empty_categories
from categorisation.services.erasing import empty_project, forget_threads, stop_classifying
from categorisation.services.history import Actor
from categorisation.services.labels import assign_label, forget_label
from categorisation.services.live import LiveParts, label_young_threads
from categorisation.services.old_threads import is_old, label_old_thread
from categorisation.services.previews import start_preview
from categorisation.services.results import Outcome
from categorisation.services.runs import cancel_run, pause_run, resume_run, start_backfill, start_reclassify

__all__ = [
    "Actor",
    "BatchParts",
    "LiveParts",
    "Outcome",
    "assign_label",
    "cancel_run",
    "change_category",
    "create_category",
    "delete_category",
    "empty_categories",
    "empty_project",
    "forget_label",
    "forget_threads",
    "fresh_batches",
    "is_old",
    "label_old_thread",
    "label_thread",
    "label_young_threads",
    "pause_run",
    "resume_run",
    "retry_classification",
    "run_batch",
    "seed_taxonomy",
    "start_backfill",
    "start_preview",
    "start_reclassify",
    "stop_classifying",
]
