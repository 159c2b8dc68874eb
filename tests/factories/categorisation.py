from __future__ import annotations

import factory

from categorisation.models import Category
from tests.factories.teams import ProjectFactory


class CategoryFactory(factory.django.DjangoModelFactory[Category]):
    class Meta:
        model = Category

    project = factory.SubFactory(ProjectFactory)
    title = factory.Sequence(lambda n: f"Category {n}")
