"""What a test does in a process with another database and another vectordb: `python -m tests.deploy.asking STEP`.

fill     make a project with documents, ask a question; tells the project's id and its key
change   replace a document, add one, delete one, and ask again
work     do what workers would do until nothing is due
tell     everything that people can see of the project
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django

django.setup()

from django.test import Client  # noqa: E402

from knowledge import composition, libraries, services  # noqa: E402
from knowledge.indexing import Outcome, find_due  # noqa: E402
from knowledge.models import Document, Library  # noqa: E402
from knowledge.services import Draft  # noqa: E402
from query.models import Thread  # noqa: E402
from teams.models import Project, Scope  # noqa: E402
from teams.services import create_api_key, create_project  # noqa: E402

QUESTIONS = ("How are red apples kept?", "What about green pears?", "Where do blue plums grow?")


def main(step: str, *arguments: str) -> None:
    told: Any = {"fill": fill, "change": change, "work": work, "tell": tell}[step](*arguments)
    print(json.dumps(told))  # noqa: T201


def fill() -> list[str]:
    project = create_project(team_name="Acme", name="Fruit")
    _, key = create_api_key(project=project, name="test", scopes=Scope.values)
    for number, fruit in enumerate(("red apples", "green pears", "blue plums")):
        text = "\n\n".join(f"## {fruit} {part}\n\nHere is how {fruit} are kept, in part {part}." for part in range(3))
        put(project, f"{number}", fruit, text)
    work()
    ask(project, key, QUESTIONS[0])
    return [str(project.pk), key]


def change(project_id: str, key: str) -> None:
    project = Project.objects.get(pk=project_id)
    put(project, "0", "red apples", "## red apples\n\nEverything about red apples is new: they are kept in sand.")
    put(project, "3", "yellow quinces", "## yellow quinces\n\nHow yellow quinces are kept: like red apples.")
    services.delete_document(project=project, document_id=Document.objects.get(external_id="2").pk)
    work()
    ask(project, key, QUESTIONS[1])


def put(project: Project, external_id: str, title: str, text: str) -> None:
    draft = Draft(title, text, "text/markdown", external_id=external_id, metadata={"length": len(text)})
    services.put_document(project=project, draft=draft, announce=False)


def work() -> None:
    indexer = composition.indexer()
    while any(due := find_due(100)):
        to_index, to_erase = due
        for document_id in to_index:
            while indexer.index(document_id) is Outcome.UNFINISHED:
                continue
        for document_id in to_erase:
            indexer.erase(document_id)
    libraries.delete_due(composition.vector_store())


def ask(project: Project, key: str, question: str, **more: str) -> Any:
    answer = Client().post(
        f"/query/v1/projects/{project.pk}/chat",
        {"question": question, **more},
        content_type="application/json",
        headers={"X-API-KEY": key, "Host": "localhost"},
    )
    assert answer.status_code == 200, answer.content
    return answer.json()


def tell(project_id: str, key: str) -> Any:
    project = Project.objects.get(pk=project_id)
    library = Library.objects.get(project=project)
    threads = list(Thread.objects.order_by("created_at").values_list("first_question", flat=True))
    fields = ("external_id", "title", "content_sha256", "metadata", "state", "chunk_count")
    return {
        "documents": list(Document.objects.filter(deleted_at=None).order_by("external_id").values(*fields)),
        "threads": threads,
        "answers": [
            {name: answer[name] for name in ("answer", "is_uncertain", "relevant_sources")}
            for answer in (ask(project, key, question) for question in QUESTIONS)
        ],
        "stored": sorted(each.name for each in composition.vector_store().list_documents(library.vectordb_id)),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
