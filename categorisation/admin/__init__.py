"""Categories, labels and runs in the admin, which changes them as the API does: through the services.

categories  taxonomies and their categories
threads     conversations with their label and its history
runs        runs, and what works on them
"""

from categorisation.admin.categories import CategoryAdmin, TaxonomyAdmin
from categorisation.admin.runs import BatchAdmin, ClassifierHealthAdmin, RunAdmin
from categorisation.admin.threads import LabelledThreadAdmin

__all__ = ["BatchAdmin", "CategoryAdmin", "ClassifierHealthAdmin", "LabelledThreadAdmin", "RunAdmin", "TaxonomyAdmin"]
