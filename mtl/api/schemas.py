"""What the REST API takes and gives, with examples. Knows no service; `mtl.api.contract` adds this one's limits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

SENTENCE = "Maria Keller opened the new clinic in Oslo."
MOST_FIELDS = 20

VECTOR = [0.0412, -0.0718, 0.0091]

Text = Annotated[StrictStr, Field(min_length=1, examples=[SENTENCE])]
Texts = Annotated[list[Text], Field(min_length=1, fail_fast=True, examples=[[SENTENCE, "The match was cancelled."]])]
Model = Annotated[StrictStr, Field(description="Which model answers.", examples=["default"])]
Names = Annotated[
    Annotated[list[StrictStr], Field(fail_fast=True)] | None,
    Field(description="Names of tasks, as `/v1/tasks` lists them; all where it is left out.", examples=[["topic"]]),
]
Count = Annotated[
    StrictInt, Field(ge=1), BeforeValidator(lambda n: int(n) if isinstance(n, float) and n.is_integer() else n)
]
"""To JSON 28.0 is a whole number too; true is none."""
Truncated = Annotated[
    int | None,
    Field(ge=0, description="The character up to which the text was read; null where it was read to its end."),
]


class Asked(BaseModel):
    """A body with few fields: what is wrong with each of a million would take minutes to say."""

    @model_validator(mode="before")
    @classmethod
    def few_fields(cls, body: object) -> object:
        """Refuses what no request looks like."""
        if isinstance(body, dict) and len(body) > MOST_FIELDS:
            raise ValueError(f"has {len(body):,} fields; no request has more than {MOST_FIELDS}")
        return body


class EmbeddingRequest(Asked):
    """As OpenAI's `POST /v1/embeddings`; what it does not know it passes over."""

    model: Model = "default"
    input: Text | Texts = Field(description="A text, or a list of texts. Token ids are not taken.")
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="base64: the bytes of little-endian float32 numbers."
    )
    dimensions: Count | None = Field(None, description="The first so many numbers, at unit length again.")
    user: StrictStr | None = Field(None, description="Passed over.")


class TextsRequest(Asked):
    """Texts to read."""

    model_config = ConfigDict(extra="forbid")
    model: Model = "default"
    texts: Texts
    tasks: Names = None


class AnalyzeRequest(TextsRequest):
    """Texts to read with every task, or with some, in one pass."""

    embeddings: StrictBool = Field(False, description="Whether the sentence vector comes along; it costs no pass.")


class SimilarityRequest(Asked):
    """Two lists of texts."""

    model_config = ConfigDict(extra="forbid")
    model: Model = "default"
    left: Texts
    right: Texts


class Usage(BaseModel):
    """Tokens that were read, special tokens included."""

    prompt_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)


class Embedding(BaseModel):
    """The vector of one text."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(ge=0)
    embedding: list[float] | str = Field(examples=[VECTOR])
    truncated_at: Truncated = None


class EmbeddingResponse(BaseModel):
    """As OpenAI answers, in the order of the input."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Labels(BaseModel):
    """What a classification task says of a text."""

    label: str
    score: float = Field(ge=0, le=1, description="The probability of the label.")
    scores: dict[str, float] = Field(description="The probability of every label.")


class Entity(BaseModel):
    """A stretch of the text, `text[start:end]`: characters are Unicode code points, the end is exclusive."""

    entity_group: str
    score: float = Field(ge=0, le=1)
    word: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)


class TextAnalysis(BaseModel):
    """What one pass says of one text, by task."""

    labels: dict[str, Labels] = Field(default_factory=dict)
    entities: dict[str, list[Entity]] = Field(default_factory=dict)
    embedding: list[float] | None = Field(None, description="Where `embeddings` asks for it.")
    n_tokens: int = Field(ge=0)
    truncated_at: Truncated = None


class AnalyzeResponse(BaseModel):
    """One analysis a text, in their order."""

    model: str
    results: list[TextAnalysis]
    usage: Usage


class SimilarityResponse(BaseModel):
    """Cosines: `scores[i][j]` of `left[i]` with `right[j]`."""

    model: str
    scores: list[list[float]]
    truncated_left: list[Truncated] = Field(description="`truncated_at` of each left text.")
    truncated_right: list[Truncated] = Field(description="`truncated_at` of each right text.")
    usage: Usage


class TaskInfo(BaseModel):
    """A task that the model was trained for."""

    name: str
    kind: str = Field(description="classification, ner or similarity")
    labels: list[str]
    n_texts: int = Field(ge=1, le=2, description="Texts that it reads at a time.")


class TasksResponse(BaseModel):
    """All tasks of the model."""

    model: str
    tasks: list[TaskInfo]


class ModelInfo(BaseModel):
    """As OpenAI lists a model, and what one needs to know of a sentence encoder."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "mtl"
    dimensions: int = Field(description="Numbers of a sentence vector.")
    max_tokens: int = Field(description="Tokens of a text that are read at once.")


class ModelsResponse(BaseModel):
    """All models that can be asked."""

    object: Literal["list"] = "list"
    data: list[ModelInfo]


class Health(BaseModel):
    """How the process is."""

    status: Literal["ok", "ready"]


class Failure(BaseModel):
    """What went wrong, in one sentence, and how to mend it."""

    message: str
    type: Literal["invalid_request_error", "authentication_error", "rate_limit_error", "server_error"]
    param: str | None = Field(None, description="The field that is wrong.")
    code: str = Field(examples=["invalid_request"])
    request_id: str = Field(description="As in the header X-Request-ID and in the log.")


class ErrorResponse(BaseModel):
    """The one shape of every error; the OpenAI clients read it too."""

    error: Failure
