from __future__ import annotations

import factory

from query.models import QuestionAnswer, Thread
from tests.factories.teams import ProjectFactory


class ThreadFactory(factory.django.DjangoModelFactory[Thread]):
    class Meta:
        model = Thread

    project = factory.SubFactory(ProjectFactory)
    first_question = factory.Sequence(lambda n: f"How do I do thing number {n}?")


class QuestionAnswerFactory(factory.django.DjangoModelFactory[QuestionAnswer]):
    class Meta:
        model = QuestionAnswer

    thread = factory.SubFactory(ThreadFactory)
    question = factory.SelfAttribute("thread.first_question")
    standalone_question = factory.SelfAttribute("question")
    answer = "You do it like this [1]."
    is_uncertain = False
