"""The guide's calls, as they stand there."""

import re
import shlex

import httpx

from tests.vectordb.conftest import REPOSITORY

GUIDE = REPOSITORY / "docs" / "vectordb" / "README.md"


def read_calls() -> list[list[str]]:
    """The curl calls of the guide, split as a shell would."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    text = "\n".join(block.replace("\\\n", " ") for block in blocks)
    return [["curl", *shlex.split(call)] for call in re.split(r"^curl ", text, flags=re.MULTILINE)[1:]]


def test_the_five_calls_of_the_guide_work_in_their_order(start_server):
    server = start_server()
    answers = []
    for _, silent, url, header_flag, header, data_flag, body in read_calls():
        assert (silent, header_flag, data_flag) == ("-s", "-H", "-d")
        name, value = header.split(": ")
        url = url.replace("http://127.0.0.1:8003", server.url)
        answer = httpx.post(url, content=body.encode(), headers={name: value})
        assert answer.is_success, answer.text
        answers.append(answer.json())
    assert len(answers) == 5
    assert [hit["chunk"]["id"] for hit in answers[3]["results"]] == ["a"]
    assert {hit["chunk"]["id"]: hit["scores"]["text"] is None for hit in answers[4]["results"]} == {
        "a": False,
        "b": True,
    }
