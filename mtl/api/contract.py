"""The OpenAPI document with what only a running service knows: its limits, its tasks, its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtl.service.models import BASE
from mtl.service.service import Service
from mtl.tasks import Task

DESCRIPTION = """One sentence encoder, many tasks, one pass. Texts in, vectors, labels and entities out.

`/v1/embeddings` is what the OpenAI clients expect. Characters are Unicode code points, ends are exclusive:
`text[start:end]`. A text that is longer than the model reads is read in part where it must be, and `truncated_at` says
so. Every error has one shape; 429 and 503 say in `Retry-After` when to ask again.
"""

NO_SPACE = r"[^\s\x1c-\x1f\x85]"
"""Python's `str.strip` takes these separators for spaces too; the dialects of patterns do not agree on them."""

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": said, "model": None}
    for status, said in {
        401: "The key is missing or wrong.",
        404: "There is no such model.",
        405: "Another method.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        422: "The body is not what is expected; `param` names the field.",
        429: "Too many requests of one client.",
        500: "A fault of the program; the log has more under the request id.",
        503: "The service has too much to do.",
    }.items()
}


def completed(document: dict[str, Any], service: Service) -> dict[str, Any]:
    """The document with the limits of this service in its schemas."""
    settings, width = service.settings, service.serving.width
    schemas = document["components"]["schemas"]
    text = {
        "maxLength": settings.max_characters,
        "pattern": NO_SPACE,
        "description": f"At most {settings.max_characters:,} characters, at least one of them no space.",
    }
    texts = {"maxItems": settings.max_texts}
    for name in ("TextsRequest", "AnalyzeRequest", "SimilarityRequest"):
        for field, schema in schemas[name]["properties"].items():
            if field in ("texts", "left", "right"):
                schema.update(texts)
                schema["items"].update(text)
    one, many = schemas["EmbeddingRequest"]["properties"]["input"]["anyOf"]
    one.update(text)
    many.update(texts)
    many["items"].update(text)
    schemas["EmbeddingRequest"]["properties"]["dimensions"]["anyOf"][0]["maximum"] = width
    for schema in schemas.values():
        if "model" in schema.get("properties", {}) and schema.get("title", "").endswith("Request"):
            schema["properties"]["model"]["enum"] = [BASE]
    _name_tasks(document, service.serving.tasks)
    return document


def _name_tasks(document: dict[str, Any], tasks: tuple[Task, ...]) -> None:
    """Which names `tasks` may hold, which differs from route to route."""
    kinds: Mapping[str, tuple[str, ...]] = {
        "/v1/analyze": tuple(task.name for task in tasks if task.n_texts == 1),
        "/v1/classify": tuple(task.name for task in tasks if task.kind == "classification"),
        "/v1/entities": tuple(task.name for task in tasks if task.kind == "ner"),
    }
    schemas = document["components"]["schemas"]
    for path, names in kinds.items():
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        title = content["schema"]["$ref"].rsplit("/", 1)[-1]
        own = f"{path.rsplit('/', 1)[-1].title()}{title}" if title == "TextsRequest" else title
        schema = {**schemas[title], "title": own, "properties": dict(schemas[title]["properties"])}
        listed = dict(schema["properties"]["tasks"])
        listed["anyOf"] = [{"type": "array", "items": {"type": "string", "enum": list(names)}}, {"type": "null"}]
        listed["examples"] = [list(names[:1])]
        schema["properties"]["tasks"] = listed
        schemas[own] = schema
        content["schema"] = {"$ref": f"#/components/schemas/{own}"}
    schemas.pop("TextsRequest")
