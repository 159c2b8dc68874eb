from __future__ import annotations

import hashlib

import factory

from knowledge.models import Document
from tests.factories.teams import ProjectFactory


class DocumentFactory(factory.django.DjangoModelFactory[Document]):
    class Meta:
        model = Document

    project = factory.SubFactory(ProjectFactory)
    external_id = factory.Sequence(lambda n: f"guide/{n}.md")
    title = factory.Sequence(lambda n: f"Guide {n}")
    content = factory.LazyAttribute(lambda document: f"# {document.title}\n\nHow to do what {document.title} is about.")
    content_type = "text/markdown"
    content_sha256 = factory.LazyAttribute(lambda document: hashlib.sha256(document.content.encode()).hexdigest())
