"""The verbs under /v1: read the request, call one verb of the service, write the answer.

Answers are made and written in the desk's threads, so that a long one keeps nobody waiting; the schemas only describe
them.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from mtl.api import schemas
from mtl.errors import BusyError
from mtl.service.models import BASE
from mtl.service.service import Service
from mtl.service.serving import Read, entities_of
from mtl.types import Analysis, LabelScores

Body = Mapping[str, object]


def build_routes(service: Service, **common: Any) -> APIRouter:
    """The routes of a service; `common` is of all of them (responses, security)."""
    router = APIRouter(prefix="/v1", **common)
    serving = service.serving

    async def answered(request: Request, model: str, work: Callable[[], tuple[Body, int, int]]) -> Response:
        """What `work` says (a body, how many texts and tokens it read), within the time of a request."""
        serving.known(model)

        def written() -> tuple[bytes, int, int]:
            body, n_texts, n_tokens = work()
            return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), n_texts, n_tokens

        taken = service.desk.take(written)
        promised = asyncio.wrap_future(taken)
        try:
            content, texts, tokens = await asyncio.wait_for(asyncio.shield(promised), service.settings.max_request_s)
        except (asyncio.TimeoutError, TimeoutError):
            promised.add_done_callback(lambda late: late.cancelled() or late.exception())
            taken.cancel()  # nobody waits for it any more: what has not begun is not begun
            limit = service.settings.max_request_s
            raise BusyError(
                f"This took more than {limit} seconds, which is the limit; send fewer texts, or ask again later.",
                retry_after_s=limit,
            ) from None
        request.state.read = {"texts": texts, "tokens": tokens}
        return Response(content, media_type="application/json")

    @router.post("/embeddings", response_model=schemas.EmbeddingResponse, tags=["OpenAI"])
    async def embeddings(request: Request, asked: schemas.EmbeddingRequest) -> Response:
        """Sentence vectors of unit length; the OpenAI clients call this unchanged."""
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        serving.counted(input=texts)

        def work() -> tuple[Body, int, int]:
            read = serving.embed(texts, dimensions=asked.dimensions)
            data = [
                {
                    "object": "embedding",
                    "index": place,
                    "embedding": _base64(one) if asked.encoding_format == "base64" else one.vector,
                    "truncated_at": one.truncated_at,
                }
                for place, one in enumerate(read.found)
            ]
            return {"object": "list", "data": data, "model": BASE, "usage": _usage(read)}, len(texts), read.n_tokens

        return await answered(request, asked.model, work)

    @router.post("/analyze", response_model=schemas.AnalyzeResponse, tags=["Read"])
    async def analyze(request: Request, asked: schemas.AnalyzeRequest) -> Response:
        """Labels, entities and, where asked for, the vector of each text, from one pass of the encoder."""
        serving.counted(texts=asked.texts)
        return await answered(request, asked.model, lambda: told(asked.texts, asked.tasks, asked.embeddings))

    @router.post("/classify", response_model=schemas.AnalyzeResponse, tags=["Read"])
    async def classify(request: Request, asked: schemas.TextsRequest) -> Response:
        """The labels of each text: `/v1/analyze` with the classification tasks."""
        serving.counted(texts=asked.texts)
        return await answered(
            request, asked.model, lambda: told(asked.texts, serving.of_kind("classification", asked.tasks))
        )

    @router.post("/entities", response_model=schemas.AnalyzeResponse, tags=["Read"])
    async def entities(request: Request, asked: schemas.TextsRequest) -> Response:
        """The entities of each text, `text[start:end]`: `/v1/analyze` with the tasks that mark words."""
        serving.counted(texts=asked.texts)
        return await answered(request, asked.model, lambda: told(asked.texts, serving.of_kind("ner", asked.tasks)))

    @router.post("/similarity", response_model=schemas.SimilarityResponse, tags=["Read"])
    async def similarity(request: Request, asked: schemas.SimilarityRequest) -> Response:
        """The cosine of each left text with each right one; at most 250,000 pairs."""
        serving.counted(left=asked.left, right=asked.right)

        def work() -> tuple[Body, int, int]:
            found = serving.similarity(asked.left, asked.right)
            n_tokens = found.left.n_tokens + found.right.n_tokens
            body = {
                "model": BASE,
                "scores": found.scores,
                "truncated_left": [one.truncated_at for one in found.left.found],
                "truncated_right": [one.truncated_at for one in found.right.found],
                "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
            }
            return body, len(asked.left) + len(asked.right), n_tokens

        return await answered(request, asked.model, work)

    @router.get("/tasks", response_model=schemas.TasksResponse, tags=["Know"])
    async def tasks() -> Body:
        """What the model can be asked."""
        told = [{"name": t.name, "kind": t.kind, "labels": t.labels, "n_texts": t.n_texts} for t in serving.tasks]
        return {"model": BASE, "tasks": told}

    @router.get("/models", response_model=schemas.ModelsResponse, tags=["OpenAI"])
    async def models() -> Body:
        """The shipped model: tuned ones belong to the page that made them."""
        max_tokens = service.models.base.tokenizer.max_tokens
        return {"object": "list", "data": [{"id": BASE, "dimensions": serving.width, "max_tokens": max_tokens}]}

    def told(texts: list[str], tasks: list[str] | None, vectors: bool = False) -> tuple[Body, int, int]:
        read = serving.analyze(texts, tasks)
        results = [_result(text, one, vectors) for text, one in zip(read.texts, read.found, strict=True)]
        return {"model": BASE, "results": results, "usage": _usage(read)}, len(texts), read.n_tokens

    return router


def _result(text: str, one: Analysis, vector: bool) -> Body:
    labels, entities = {}, {}
    for name, said in one.predictions.items():
        if isinstance(said, LabelScores):
            labels[name] = {"label": said.label, "score": said.scores[said.label], "scores": dict(said.scores)}
        elif isinstance(said, tuple):
            entities[name] = entities_of(text, said)
    return {
        "labels": labels,
        "entities": entities,
        "embedding": one.vector if vector else None,
        "n_tokens": one.n_tokens,
        "truncated_at": one.truncated_at,
    }


def _usage(read: Read) -> Body:
    return {"prompt_tokens": read.n_tokens, "total_tokens": read.n_tokens}


def _base64(one: Analysis) -> str:
    return base64.b64encode(one.vector.astype("<f4").tobytes()).decode()
