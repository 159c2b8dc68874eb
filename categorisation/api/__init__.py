"""The HTTP calls of categories, labels and runs.

categories   the taxonomy
threads      query's threads, with filters and decisions on their label
runs         previews, and labelling in the background
"""

from categorisation.api.categories import CategoryViewSet
from categorisation.api.runs import RunViewSet
from categorisation.api.threads import LabelledThreadViewSet

__all__ = ["CategoryViewSet", "LabelledThreadViewSet", "RunViewSet"]
