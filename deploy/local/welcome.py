"""What to do next, once everything is up."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.local.layout import Layout, read_json, write_private_json
from deploy.local.services import Stack

FIRST_QUESTION = "How is a conversation labelled?"


def refresh_demo(layout: Layout, stack: Stack) -> dict[str, str]:
    """The demo's credentials, with the addresses of this run (PORT may have moved)."""
    demo: dict[str, str] = read_json(layout.demo)
    if not demo:
        return {}
    layout.demo.chmod(0o600)  # it holds a key and a password
    addresses = {"base_url": stack.base_url, "admin_url": f"{stack.base_url}/admin/"}
    if stack.brings_vectordb:
        addresses["vectordb_url"] = stack.vectordb_url
    if demo | addresses != demo:
        demo |= addresses
        write_private_json(layout.demo, demo)
    return demo


def describe_next_steps(layout: Layout, stack: Stack, demo: Mapping[str, str]) -> str:
    """The text that `make run` ends its start with."""
    parts = [_describe_questions(stack, demo)] if demo else []
    parts.append(_describe_links(layout, stack, demo))
    return "\n\n".join(parts)


def _describe_questions(stack: Stack, demo: Mapping[str, str]) -> str:
    project = f"{stack.base_url}/query/v1/projects/{demo['project_id']}"
    key = f"-H 'X-API-KEY: {demo['api_key']}'"
    return (
        "Ask the demo bot, which has read this repository's docs/:\n\n"
        f"  curl -s {project}/chat \\\n"
        f"    {key} -H 'Content-Type: application/json' \\\n"
        f'    -d \'{{"question": "{FIRST_QUESTION}"}}\'\n\n'
        "A moment later, see the conversation with its category:\n\n"
        f"  curl -s {project}/threads/ \\\n"
        f"    {key}"
    )


def _describe_links(layout: Layout, stack: Stack, demo: Mapping[str, str]) -> str:
    links = [("API", f"{stack.base_url}/redoc"), ("Try it", f"{stack.base_url}/docs")]
    admin = f"{stack.base_url}/admin/"
    if demo:
        admin += f"   {demo['admin_email']}, password in {layout.demo.relative_to(layout.root)}"
    links.append(("Admin", admin))
    if stack.brings_broker:
        links.append(("Flower", f"http://127.0.0.1:{stack.flower_port}"))
    if stack.brings_vectordb:
        where = "its calls in docs/vectordb/README.md, its key in .run/demo.json"
        links.append(("vectordb", f"{stack.vectordb_url}   {where}"))
    links.append(("Logs", f"{layout.logs.relative_to(layout.root)}/*.log"))
    lines = [f"  {name:<9} {value}" for name, value in links]
    return "\n".join([*lines, "", "Ctrl-C stops everything."])
