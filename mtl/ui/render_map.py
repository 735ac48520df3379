"""What is said below a map, as Markdown that shows typed text as it is."""

from __future__ import annotations

import re

from mtl.inference.clusters import OUTSIDE
from mtl.service.maps import Found, MapPoints, Placed
from mtl.service.regions import CLUSTER


def map_note(points: MapPoints, waiting: str = "") -> str:
    """How many sentences, how they were placed, how far to believe it, and what is missing."""
    corpus = points.corpus
    cut = sum(analysis.truncated_at is not None for analysis in points.analyses)
    said = [f"{len(points.analyses):,} sentences placed by **{points.method}**.", waiting]
    if points.trust is not None and points.method == "UMAP":
        said.append(f"Trustworthiness {points.trust:.2f}: {_in_words(points.trust)}")
    if corpus.drawn_from is not None:
        by = f", in proportion to {literal(corpus.drawn_by)}" if corpus.drawn_by else ""
        said.append(f"They are a sample of {corpus.drawn_from:,} rows{by}.")
    if cut:
        said.append(f"{cut} of them are longer than the model reads and were cut.")
    if corpus.left_out:
        said.append(f"{corpus.left_out} rows without a text were left out.")
    return " ".join(part for part in said if part)


def cluster_note(points: MapPoints) -> str:
    """How many clusters there are, and how much is in none."""
    values = points.corpus.columns[CLUSTER]
    outside = values.count(OUTSIDE) / len(values)
    return f"**{len(set(values) - {OUTSIDE})} clusters**; {outside:.0%} of the sentences are in none."


def search_note(found: Found, query: str) -> str:
    """What a search marked."""
    if found.by_meaning:
        return f"No sentence holds “{literal(query)}”; the {len(found.places)} that mean most nearly this are marked."
    return f"{len(found.places):,} sentences hold “{literal(query)}”; they are marked."


def place_note(placed: Placed) -> str:
    """Where a sentence landed."""
    return f"Your sentence is the star. Nearest to it: {literal(placed.nearest)}"


def literal(text: str | None, limit: int = 200) -> str:
    """A text as Markdown that shows it as it is."""
    text = text or ""
    shown = " ".join(text[:limit].split()) + (" …" if len(text) > limit else "")
    return re.sub(r"([\\`*_{}\[\]()#+\-.!<>|&~:])", r"\\\1", shown)


def _in_words(trust: float) -> str:
    if trust >= 0.95:
        return "neighbours here are nearly always neighbours by meaning."
    if trust >= 0.8:
        return "most neighbours here are neighbours by meaning; click a point to see its real ones."
    return "much was lost on the way to a plane; click a point to see its real neighbours."
